//! WebSockets (RFC 6455): a call that opens one, and the peer's messages as the body of its answer.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Sink as _, Stream as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_websockets::{ClientBuilder, CloseCode, Limits, Message, WebSocketStream};

use crate::ports::transport::{Dialogue, SocketMessage, TransportError, UpstreamReply};

/// A message of the peer's is not longer than this.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// RFC 6455 §1.3: proves that whoever answers knows what it answers to.
const ANSWER_TO_KEYS: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of one handshake (RFC 6455 §4.1).
pub(super) struct Key(String);

impl Key {
    /// A fresh one.
    pub(super) fn new() -> Result<Self, TransportError> {
        let mut bytes = [0; 16];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| TransportError::Connect)?;
        Ok(Self(STANDARD.encode(bytes)))
    }

    /// Makes a request one that opens a WebSocket.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        // Base64 can stand in a header.
        headers.extend(HeaderValue::try_from(&self.0).map(|key| (header::SEC_WEBSOCKET_KEY, key)));
    }

    /// Whether the answer opens it (RFC 6455 §4.1, the list at its end).
    fn is_answered(&self, headers: &HeaderMap) -> bool {
        let says = |name, wanted: &str| {
            let values = headers
                .get_all(name)
                .into_iter()
                .filter_map(|value| value.to_str().ok());
            let mut words = values.flat_map(|value| value.split(',')).map(str::trim);
            words.any(|word| word.eq_ignore_ascii_case(wanted))
        };
        let wanted = openssl::sha::sha1(&[self.0.as_bytes(), ANSWER_TO_KEYS].concat());
        let accepted = headers.get(header::SEC_WEBSOCKET_ACCEPT);
        says(header::UPGRADE, "websocket")
            && says(header::CONNECTION, "upgrade")
            && accepted.is_some_and(|accepted| accepted.as_bytes() == STANDARD.encode(wanted).as_bytes())
            // None was offered.
            && !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
            && !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
    }
}

/// Begins to talk where the answer opened the WebSocket.
pub(super) async fn talk<B>(
    answer: Response<B>,
    key: &Key,
    dialogue: Dialogue,
) -> Result<UpstreamReply, TransportError> {
    if !key.is_answered(answer.headers()) {
        return Err(TransportError::Broken);
    }
    let connection = hyper::upgrade::on(answer).await.map_err(|_| TransportError::Broken)?;
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE_BYTES));
    let socket = ClientBuilder::new().limits(limits).take_over(TokioIo::new(connection));
    Ok(UpstreamReply {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]),
        body: Box::pin(Talk::new(socket, dialogue)),
    })
}

/// What the peer says, while it is told what there is to say. Dropping it closes the connection.
struct Talk {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    /// What is said next.
    mouth: VecDeque<Message>,
    later: VecDeque<Vec<SocketMessage>>,
    is_last: fn(&[u8]) -> bool,
    ended: bool,
}

impl Talk {
    fn new(socket: WebSocketStream<TokioIo<Upgraded>>, dialogue: Dialogue) -> Self {
        let mut talk = Self {
            socket,
            mouth: VecDeque::new(),
            later: dialogue.turns,
            is_last: dialogue.is_last,
            ended: false,
        };
        talk.take_turn();
        talk
    }

    fn take_turn(&mut self) {
        let turn = self.later.pop_front().into_iter().flatten();
        self.mouth.extend(turn.map(|message| match message {
            SocketMessage::Text(text) => Message::text(text),
            SocketMessage::Binary(bytes) => Message::binary(bytes),
        }));
    }

    /// Says as much as the connection takes by now.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let broken = |_| TransportError::Broken;
        while !self.mouth.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
            let Some(message) = self.mouth.pop_front() else { break };
            Pin::new(&mut self.socket).start_send(message).map_err(broken)?;
        }
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    /// A message of the peer's.
    fn hear(&mut self, message: Message) -> Bytes {
        let said = message.into_payload();
        if (self.is_last)(&said) {
            self.ended = true;
            self.mouth.clear();
            self.mouth
                .push_back(Message::close(Some(CloseCode::NORMAL_CLOSURE), ""));
        } else {
            self.take_turn();
        }
        let mut line = BytesMut::with_capacity(said.len() + 1);
        // Within JSON it is white space.
        line.extend(said.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        line.put_u8(b'\n');
        line.freeze()
    }
}

impl Body for Talk {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        loop {
            match self.poll_say(cx) {
                // It is closed politely, but nobody waits for the peer's farewell, and none is missed.
                _ if self.ended && self.mouth.is_empty() => return Poll::Ready(None),
                Poll::Ready(Err(_)) if self.ended => return Poll::Ready(None),
                // What the peer said before it hung up is still to be heard: it tells why.
                Poll::Ready(Err(_)) => self.mouth.clear(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let heard = ready!(Pin::new(&mut self.socket).poll_next(cx));
            match heard {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(TransportError::Broken))),
                Some(Ok(message)) if message.is_text() => {
                    let line = self.hear(message);
                    return Poll::Ready(Some(Ok(Frame::data(line))));
                }
                Some(Ok(message)) if message.is_close() => return Poll::Ready(None),
                // Pings are answered below, and nothing of what we read is binary.
                Some(Ok(_)) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.mouth.is_empty()
    }
}
