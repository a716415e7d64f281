//! Vendors that speak OpenAI's format in their own way. Their SDKs' words are the callers' own, or nearly so.

use resource_gateway::{
    adapters::auth_schemes::{
        bce_v1::{self, SignedNames, Terms},
        canonical::{AccessKey, Signable},
        volcengine,
    },
    domain::{
        interface::Capability,
        vendor::{BaseUrl, SecretKey, Vendor},
    },
};
use serde_json::{Value, json};

use super::openai;
use crate::suite::{Body, Errand, Fixture, Suite, says};

/// Azure: the endpoint is the customer's own.
pub(crate) fn azure(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = openai::vendor(fixture, "azure-openai")?;
    if let Some(token) = fixture.input("azure_ad_token") {
        vendor.credential.secret_key = SecretKey::Present(token.to_owned().into());
        vendor.options.insert("auth".to_owned(), "entra".to_owned());
    }
    let endpoint = fixture.input("endpoint").ok_or("there is no endpoint")?;
    vendor.base_url = Some(BaseUrl::parse(endpoint).map_err(|error| format!("endpoint {error}"))?);
    let version = fixture.input("api_version").unwrap_or_default();
    vendor.options.insert("api_version".to_owned(), version.to_owned());
    suite.call(fixture, openai::errand(fixture, vendor)?)
}

/// Vendors whose own strategy is the whole difference.
pub(crate) fn own(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let strategy = fixture.vendor();
    let vendor = openai::vendor(fixture, strategy)?;
    if fixture.asks_for_models() {
        return suite.models(fixture, vendor, None);
    }
    suite.call(fixture, lean(openai::errand(fixture, vendor)?))
}

/// Zhipu: the SDK that signs was recorded with its clock.
pub(crate) fn zhipu(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = openai::vendor(fixture, "zhipu")?;
    if fixture.signing().is_some() {
        vendor.options.insert("auth".to_owned(), "jwt".to_owned());
    }
    suite.call(fixture, lean(openai::errand(fixture, vendor)?))
}

/// Volcengine Ark: a key, or an access key that buys one.
pub(crate) fn ark(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = openai::vendor(fixture, "volcengine-ark")?;
    let Some(id) = fixture.input("access_key") else {
        return suite.call(fixture, lean(openai::errand(fixture, vendor)?));
    };
    access_key(fixture, &mut vendor, id);
    let params = fixture.params();
    let ids = params.get("resource_ids").and_then(Value::as_array);
    let ids: Vec<_> = ids.into_iter().flatten().filter_map(Value::as_str).collect();
    vendor.options.insert("endpoints".to_owned(), ids.join(","));
    if let Some(region) = fixture.input("region") {
        vendor.options.insert("region".to_owned(), region.to_owned());
    }
    if let Some(seconds) = params.get("duration_seconds") {
        vendor
            .options
            .insert("token_seconds".to_owned(), openai::plain(seconds));
    }
    // The SDK signs its own names for the request as well, and its own text of the body.
    let except = [
        "authorization",
        "x-content-sha256",
        "x-sdk-invocation-id",
        "x-sdk-request",
    ];
    suite.buy(fixture, vendor, &except)?;
    let recorded = Recorded::of(fixture);
    let scope = volcengine::Scope {
        region: fixture.input("region").unwrap_or_default(),
        service: fixture.input("service").unwrap_or("ark"),
    };
    let signed = volcengine::sign(&recorded.signable(), &recorded.key, scope, fixture.at().as_seconds());
    recorded.check(&signed.headers, fixture.expect())
}

/// Mistral: the SDK has words of its own for the seed and for what is embedded, and says that it wants no stream.
pub(crate) fn mistral(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let vendor = openai::vendor(fixture, "mistral")?;
    if fixture.asks_for_models() {
        return suite.models(fixture, vendor, None);
    }
    let mut errand = lean(openai::errand(fixture, vendor)?);
    if let Body::Json(Value::Object(members)) = &mut errand.body {
        for (theirs, ours) in [
            ("random_seed", "seed"),
            ("inputs", "input"),
            ("output_dimension", "dimensions"),
        ] {
            if let Some(value) = members.remove(theirs) {
                members.insert(ours.to_owned(), value);
            }
        }
        if members.get("tool_choice") == Some(&json!("any")) {
            members.insert("tool_choice".to_owned(), json!("required"));
        }
        if errand.capability == Capability::Chat {
            members.entry("stream").or_insert(json!(false));
        }
    }
    suite.call(fixture, errand)
}

/// Qianfan: a key, or an access key that signs calls or buys tokens.
pub(crate) fn qianfan(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = openai::vendor(fixture, "qianfan")?;
    vendor.credential.app_id = fixture.input("appid").map(str::to_owned);
    let Some(id) = fixture.input("access_key") else {
        let path = fixture.request().get("path").and_then(Value::as_str);
        if path.is_some_and(|path| path.ends_with("/rerank")) {
            let params = fixture.params();
            let model = params
                .get("model")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let errand = Errand::json(vendor, Capability::Rerank, &model, params);
            return suite.call(fixture, lean(errand));
        }
        return suite.call(fixture, lean(openai::errand(fixture, vendor)?));
    };
    access_key(fixture, &mut vendor, id);
    let params = fixture.params();
    if let Some(seconds) = params.get("expireInSeconds") {
        vendor
            .options
            .insert("token_seconds".to_owned(), openai::plain(seconds));
        // The SDK signs its own name as well.
        suite.buy(fixture, vendor, &["authorization"])?;
    }
    signature(fixture)
}

/// The signature itself: calls are not signed for as long as in these recordings, nor by the same headers.
fn signature(fixture: &Fixture) -> Result<(), String> {
    let recorded = Recorded::of(fixture);
    let params = fixture.params();
    let names = params.get("headers_to_sign").and_then(Value::as_array);
    let names: Option<Vec<&str>> = names.map(|names| names.iter().filter_map(Value::as_str).collect());
    // An SDK that signs whatever is there tells in its signature what that was.
    let told = fixture
        .signing()
        .and_then(|signing| signing.get("signed_headers")?.as_str());
    let told = told.filter(|told| !told.is_empty());
    let names = names.or_else(|| Some(told?.split(';').collect()));
    let seconds = fixture.number("expire_seconds").unwrap_or_default();
    let signed = bce_v1::sign(
        &recorded.signable(),
        &recorded.key,
        Terms {
            valid_seconds: u32::try_from(seconds).map_err(|error| error.to_string())?,
            names: names.as_deref().map_or(SignedNames::Default, SignedNames::These),
        },
        fixture.at().as_seconds(),
    );
    recorded.check(&signed.headers, fixture.expect())
}

/// A request as it was recorded, for signers that are held against its signature.
struct Recorded<'a> {
    request: &'a Value,
    headers: Vec<(&'a str, &'a str)>,
    body: [bytes::Bytes; 1],
    key: AccessKey,
}

impl<'a> Recorded<'a> {
    fn of(fixture: &'a Fixture) -> Self {
        let request = fixture.request();
        let input = |name: &str| fixture.input(name).unwrap_or_default();
        let headers = request.get("headers").and_then(Value::as_object);
        let headers = headers.into_iter().flatten();
        let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        Self {
            request,
            // Those that the signer adds itself.
            headers: headers
                .filter(|(name, _)| !["authorization", "host", "x-date", "x-content-sha256"].contains(name))
                .collect(),
            body: [says(request, "body_text").unwrap_or_default().to_owned().into()],
            key: AccessKey::new(input("access_key"), input("secret_key")),
        }
    }

    fn signable(&self) -> Signable<'_> {
        let text = |name: &str| says(self.request, name).unwrap_or_default();
        Signable {
            method: text("method"),
            host: text("host"),
            path: text("path"),
            query: text("raw_query"),
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn check(&self, signed: &[(&str, String)], expect: &Value) -> Result<(), String> {
        let wanted = self.request.pointer("/headers/authorization").and_then(Value::as_str);
        if let Some(told) = says(expect, "authorization")
            && Some(told) != wanted
        {
            return Err(format!("the recording says both {told:?} and {wanted:?}"));
        }
        let found = signed.iter().find(|(name, _)| *name == "authorization");
        let found = found.map(|(_, value)| value.as_str());
        match found == wanted {
            true => Ok(()),
            false => Err(format!("signature: {found:?}, wanted {wanted:?}")),
        }
    }
}

/// Spark's WebSocket: what its SDK was told are the vendor's words, most of which are OpenAI's as well.
fn spark_by_socket(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let mut vendor = Vendor::named("v", "spark-websocket");
    let input = |name: &str| fixture.input(name).unwrap_or_default().to_owned();
    vendor.credential.app_id = Some(input("app_id"));
    vendor.credential.secret_id = Some(input("api_key"));
    vendor.credential.secret_key = SecretKey::Present(input("api_secret").into());
    let mut params = fixture.params();
    let members = params.as_object_mut().ok_or("there are no params")?;
    let domain = members.remove("domain");
    let domain = domain.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    // An SDK is told where a model is.
    let path = fixture
        .request()
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(version) = path.strip_prefix('/').and_then(|path| path.strip_suffix("/chat")) {
        vendor.options.insert("version".to_owned(), version.to_owned());
    }
    if let Some(uid) = members.remove("uid") {
        members.insert("user".to_owned(), uid);
    }
    if let Some(Value::Array(functions)) = members.remove("functions") {
        let tools = functions
            .into_iter()
            .map(|function| json!({"type": "function", "function": function}));
        members.insert("tools".to_owned(), tools.collect());
    }
    // It knows no other answers than those in pieces.
    members.insert("stream".to_owned(), json!(true));
    let mut errand = Errand::json(vendor, Capability::Chat, &domain, params);
    // The order and the spaces of what is encoded in it are free; its parts are compared with the signer.
    errand.except = vec!["authorization"];
    suite.call(fixture, errand)
}

/// Spark: its WebSocket, or its HTTP mode.
pub(crate) fn spark(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    if fixture.frames().is_some() || fixture.input("app_id").is_some() {
        return spark_by_socket(fixture, suite);
    }
    let mut vendor = openai::vendor(fixture, "spark")?;
    if let Some(password) = fixture.input("api_password") {
        vendor.credential.secret_key = SecretKey::Present(password.to_owned().into());
    }
    suite.call(fixture, lean(openai::errand(fixture, vendor)?))
}

/// A compatible mode: the strategy's own address is the same.
pub(crate) fn compatible(fixture: &Fixture, suite: &Suite, strategy: &str) -> Result<(), String> {
    let vendor = openai::vendor(fixture, strategy)?;
    suite.call(fixture, lean(openai::errand(fixture, vendor)?))
}

fn access_key(fixture: &Fixture, vendor: &mut Vendor, id: &str) {
    vendor.credential.secret_id = Some(id.to_owned());
    let secret = fixture.secret_of("secret_key", "session_token");
    vendor.credential.secret_key = SecretKey::Present(secret.unwrap_or_default().into());
}

/// These SDKs write `null` for what they were not told, which means the same as nothing.
fn lean(mut errand: Errand) -> Errand {
    if let Body::Json(Value::Object(members)) = &mut errand.body {
        // The SDK writes these at the top level.
        if let Some(Value::Object(extra)) = members.remove("extra_body") {
            members.extend(extra);
        }
    }
    errand.tolerances = |body| {
        if let Some(members) = body.as_object_mut() {
            members.retain(|_, value| !value.is_null());
            if members.contains_key("input") {
                members.remove("encoding_format");
            }
            // The gateway always asks for usage, to account for the call.
            if members.get("stream") == Some(&Value::Bool(true)) {
                members.remove("stream_options");
            }
        }
    };
    errand
}
