//! Failures by their names.

use super::*;

#[test]
fn every_name_of_an_error_has_its_class() {
    use FaultClass as C;
    for (name, class) in [
        ("ValidationException", C::InvalidRequest),
        ("UnrecognizedClientException", C::Authentication),
        ("InvalidSignatureException", C::Authentication),
        ("ExpiredTokenException", C::Authentication),
        ("IncompleteSignature", C::Authentication),
        ("MissingAuthenticationToken", C::Authentication),
        ("AccessDeniedException", C::Permission),
        ("ResourceNotFoundException", C::NotFound),
        ("ModelTimeoutException", C::Timeout),
        ("ThrottlingException", C::RateLimit),
        ("ModelNotReadyException", C::Overloaded),
        ("ServiceUnavailableException", C::Overloaded),
        ("ServiceQuotaExceededException", C::QuotaExceeded),
        ("ModelErrorException", C::ServerError),
        ("ModelStreamErrorException", C::ServerError),
        ("InternalServerException", C::ServerError),
    ] {
        // Whatever the status says, the name knows better; a body's name has a place in front.
        let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "message": "m"}).to_string();
        let fault = BedrockChat.decode_fault(418, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class, fault.words.code.as_deref()), (class, Some(name)));
        let small = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        let bytes = frame(&[(":message-type", "exception"), (":exception-type", &small)], "{}");
        let (_, end) = read_stream(&HeaderMap::new(), &[&bytes]);
        assert!(
            matches!(end, StreamEnd::Failed(fault) if fault.class == class),
            "{small}"
        );
    }
    for (status, body, class) in [
        (429, "<html>", C::RateLimit),
        (503, "", C::Overloaded),
        (500, r#"{"message":"x"}"#, C::ServerError),
        (403, r#"{"__type":"SomethingNewException"}"#, C::Permission),
    ] {
        assert_eq!(
            BedrockChat
                .decode_fault(status, &HeaderMap::new(), body.as_bytes())
                .class,
            class
        );
    }
}

#[test]
fn what_stands_in_place_of_an_answer_is_a_failure() {
    let headers = HeaderMap::new();
    for (body, class) in [
        (
            r#"{"__type":"x#ThrottlingException","message":"m"}"#,
            FaultClass::RateLimit,
        ),
        (
            r#"{"Output":{"__type":"UnknownOperationException"},"Version":"1.0"}"#,
            FaultClass::InvalidReply,
        ),
        ("{}", FaultClass::InvalidReply),
        ("<html>", FaultClass::InvalidReply),
    ] {
        assert_eq!(
            BedrockChat.decode(&received(&headers, body)).unwrap_err().class,
            class,
            "{body}"
        );
    }
}
