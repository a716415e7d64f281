-- Which applications a session has reached: whoever was given a code in it. The trigger keeps that, so that no code can be issued past
-- it and issuing one stays one statement. Goes with its session.
CREATE TABLE session_client (
    sid         TEXT    NOT NULL REFERENCES session (sid) ON DELETE CASCADE,
    client_id   TEXT    NOT NULL,
    first_at    BIGINT  NOT NULL,
    PRIMARY KEY (sid, client_id)
);

CREATE TRIGGER authorization_code_joins_session AFTER INSERT ON authorization_code WHEN NEW.sid IS NOT NULL
BEGIN
    INSERT INTO session_client (sid, client_id, first_at)
    SELECT s.sid, NEW.client_id, NEW.issued_at FROM session s
    WHERE s.sid = NEW.sid
    AND NOT EXISTS (SELECT 1 FROM session_client c WHERE c.sid = NEW.sid AND c.client_id = NEW.client_id);
END;

-- News of ended sessions that applications still have to get. id is the session and the application: one and the same news is not
-- queued twice. From due_at on whoever moves it takes the row; ends_at is when nobody tries any more.
CREATE TABLE logout_delivery (
    id          TEXT    NOT NULL PRIMARY KEY,
    sid         TEXT    NOT NULL,
    client_id   TEXT    NOT NULL,
    user_sub    TEXT    NOT NULL,
    attempts    BIGINT  NOT NULL,
    queued_at   BIGINT  NOT NULL,
    due_at      BIGINT  NOT NULL,
    ends_at     BIGINT  NOT NULL
);
CREATE INDEX logout_delivery_by_due ON logout_delivery (due_at);
CREATE INDEX logout_delivery_by_end ON logout_delivery (ends_at);
