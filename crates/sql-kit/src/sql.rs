//! Statements as constants: every text that a driver needs is made by the compiler, so running one rewrites nothing.

use std::fmt;

/// One statement in the words of every engine. Made by [`sql!`](crate::sql!), cheap to copy.
#[derive(Clone, Copy)]
pub struct Sql(&'static Statement);

/// The texts behind a [`Sql`]. Public for the macro alone.
#[doc(hidden)]
#[derive(Debug)]
pub struct Statement {
    pub plain: &'static str,
    pub begin: &'static str,
    pub savepoint_a: &'static str,
    pub a_to_b: &'static str,
    pub b_to_a: &'static str,
    pub postgres: &'static str,
    pub parameters: usize,
    pub reads_only: bool,
}

impl Sql {
    #[doc(hidden)]
    pub const fn new(statement: &'static Statement) -> Self {
        Self(statement)
    }

    pub(crate) fn texts(self) -> &'static Statement {
        self.0
    }

    /// Whether every parameter is something to look for, none something to store: a SELECT or a DELETE.
    pub(crate) fn only_looks(self) -> bool {
        self.0.reads_only || self.0.plain.starts_with("DELETE ")
    }

    /// The table that the statement is about, for error texts: the word after the first FROM, INTO or UPDATE.
    pub(crate) fn table(self) -> &'static str {
        let mut words = self.0.plain.split_whitespace();
        while let Some(word) = words.next() {
            if ["FROM", "INTO", "UPDATE"]
                .iter()
                .any(|marker| word.eq_ignore_ascii_case(marker))
            {
                let name = words.next().unwrap_or_default();
                return name
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
            }
        }
        ""
    }

    /// The name of a result column as it stands in the text.
    pub(crate) fn column(self, name: &str) -> &'static str {
        let text = self.0.plain;
        text.find(name)
            .and_then(|start| text.get(start..start + name.len()))
            .unwrap_or("a column")
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sql").field(&self.0.plain).finish()
    }
}

/// Makes a [`Sql`] of one portable text with `?`, or of one text per dialect where the engines truly differ.
///
/// The text is a literal or a `concat!` of literals; `?` inside single quotes is left alone. For PostgreSQL the compiler
/// turns the n-th `?` into `$n`. Dialect texts must take the same parameters in the same order.
///
/// ```
/// use sql_kit::{Sql, sql};
/// const TAKE: Sql = sql!("UPDATE ticket SET taken_at = ? WHERE id = ? AND taken_at IS NULL");
/// const FIRST_FREE: Sql = sql!(
///     sqlite: "SELECT id FROM ticket WHERE taken_at IS NULL ORDER BY id LIMIT ?",
///     postgres: "SELECT id FROM ticket WHERE taken_at IS NULL ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED",
/// );
/// ```
#[macro_export]
macro_rules! sql {
    (sqlite: $sqlite:expr, postgres: $postgres:expr $(,)?) => {{
        const LEN: usize = $crate::numbered_len($postgres);
        const NUMBERED: [u8; LEN] = $crate::number_parameters($postgres);
        const STATEMENT: $crate::Statement = $crate::Statement {
            plain: $sqlite,
            begin: ::core::concat!("BEGIN IMMEDIATE; ", $sqlite),
            savepoint_a: ::core::concat!("SAVEPOINT a; ", $sqlite),
            a_to_b: ::core::concat!("RELEASE a; SAVEPOINT b; ", $sqlite),
            b_to_a: ::core::concat!("RELEASE b; SAVEPOINT a; ", $sqlite),
            postgres: $crate::utf8(&NUMBERED),
            parameters: $crate::count_parameters($sqlite, $postgres),
            reads_only: $crate::reads_only($sqlite),
        };
        $crate::Sql::new(&STATEMENT)
    }};
    ($text:expr $(,)?) => {
        $crate::sql!(sqlite: $text, postgres: $text)
    };
}

/// Length of `text` once its `?` are numbered.
#[doc(hidden)]
pub const fn numbered_len(text: &str) -> usize {
    let mut rest = text.as_bytes();
    let (mut len, mut parameters, mut quoted) = (0, 0, false);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        len += 1;
        if *byte == b'\'' {
            quoted = !quoted;
        }
        if *byte == b'?' && !quoted {
            parameters += 1;
            len += digits(parameters);
        }
    }
    len
}

/// How many digits a parameter's number has.
const fn digits(number: usize) -> usize {
    assert!(number < 1000, "a statement takes at most 999 parameters");
    match number {
        0..10 => 1,
        10..100 => 2,
        _ => 3,
    }
}

/// `text` with its `?` numbered `$1`, `$2`, …
#[doc(hidden)]
#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, where a bad index is a compile error"
)]
#[expect(clippy::cast_possible_truncation, reason = "a digit fits a byte")]
pub const fn number_parameters<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = text.as_bytes();
    let (mut at, mut parameters, mut quoted) = (0, 0_usize, false);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'\'' {
            quoted = !quoted;
        }
        if *byte != b'?' || quoted {
            out[at] = *byte;
            at += 1;
            continue;
        }
        parameters += 1;
        out[at] = b'$';
        at += 1;
        let (mut number, length) = (parameters, digits(parameters));
        let mut digit = length;
        while digit > 0 {
            digit -= 1;
            out[at + digit] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        at += length;
    }
    out
}

/// The bytes as text; they came from a text, so they are UTF-8.
#[doc(hidden)]
pub const fn utf8(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// How many parameters both dialects take.
#[doc(hidden)]
pub const fn count_parameters(sqlite: &str, postgres: &str) -> usize {
    let count = parameters_of(sqlite);
    assert!(
        count == parameters_of(postgres),
        "the dialects of a statement must take the same parameters"
    );
    count
}

const fn parameters_of(text: &str) -> usize {
    let mut rest = text.as_bytes();
    let (mut count, mut quoted) = (0, false);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'\'' {
            quoted = !quoted;
        }
        if *byte == b'?' && !quoted {
            count += 1;
        }
    }
    count
}

/// Whether the text only reads, so that a read connection may run it: a SELECT, or a WITH that holds no change.
#[doc(hidden)]
pub const fn reads_only(text: &str) -> bool {
    let bytes = text.as_bytes().trim_ascii_start();
    if starts_with(bytes, b"SELECT ") {
        return true;
    }
    if !starts_with(bytes, b"WITH ") {
        return false;
    }
    let mut rest = bytes;
    while let [_, tail @ ..] = rest {
        if starts_with(rest, b"INSERT ") || starts_with(rest, b"UPDATE ") || starts_with(rest, b"DELETE ") {
            return false;
        }
        rest = tail;
    }
    true
}

const fn starts_with(mut text: &[u8], mut word: &[u8]) -> bool {
    while let [wanted, word_tail @ ..] = word {
        match text {
            // A line break ends a word as well as a blank does.
            [found, text_tail @ ..]
                if found.to_ascii_uppercase() == *wanted || (*wanted == b' ' && *found == b'\n') =>
            {
                text = text_tail;
            }
            _ => return false,
        }
        word = word_tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::Sql;

    macro_rules! columns {
        () => {
            "id, created_at"
        };
    }

    const MANY: Sql = sql!("INSERT INTO t VALUES (?, '?', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    const SHARED: Sql = sql!(concat!("SELECT ", columns!(), " FROM client WHERE id = ?"));
    const CTE_READ: Sql = sql!("WITH x AS (SELECT 1) SELECT * FROM x");
    const CTE_WRITE: Sql = sql!("WITH x AS (SELECT 1) DELETE FROM client WHERE id IN (SELECT * FROM x)");
    const RETURNING: Sql = sql!("UPDATE client SET id = ? RETURNING id");

    macro_rules! ten {
        ($text:expr) => {
            concat!(
                $text, $text, $text, $text, $text, $text, $text, $text, $text, $text
            )
        };
    }
    const HUNDRED: Sql = sql!(concat!("SELECT ", ten!(ten!("?,")), "?"));

    #[test]
    fn numbers_have_as_many_digits_as_they_need() {
        let numbers: Vec<String> = (1..=101).map(|number| format!("${number}")).collect();
        assert_eq!(HUNDRED.texts().postgres, format!("SELECT {}", numbers.join(",")));
        assert_eq!(HUNDRED.texts().parameters, 101);
    }

    #[test]
    fn question_marks_become_numbers_for_postgresql_and_quoted_ones_stay() {
        assert_eq!(
            MANY.texts().postgres,
            "INSERT INTO t VALUES ($1, '?', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        );
        assert_eq!(MANY.texts().parameters, 11);
        assert_eq!(
            SHARED.texts().postgres,
            "SELECT id, created_at FROM client WHERE id = $1"
        );
    }

    #[test]
    fn sqlite_texts_open_their_place_in_the_group() {
        assert_eq!(
            RETURNING.texts().begin,
            "BEGIN IMMEDIATE; UPDATE client SET id = ? RETURNING id"
        );
        assert_eq!(
            RETURNING.texts().a_to_b,
            "RELEASE a; SAVEPOINT b; UPDATE client SET id = ? RETURNING id"
        );
    }

    #[test]
    fn only_statements_without_a_change_may_go_to_a_read_connection() {
        for (sql, reads) in [
            (SHARED, true),
            (CTE_READ, true),
            (CTE_WRITE, false),
            (RETURNING, false),
            (MANY, false),
        ] {
            assert_eq!(sql.texts().reads_only, reads, "{sql:?}");
        }
    }

    #[test]
    fn the_table_of_a_statement_is_known_for_errors() {
        for (sql, table) in [(SHARED, "client"), (RETURNING, "client"), (MANY, "t")] {
            assert_eq!(sql.table(), table);
        }
    }
}
