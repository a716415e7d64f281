//! Vendors that speak OpenAI's format in their own way. Their SDKs' words are the callers' own, or nearly so.

use resource_gateway::{
    adapters::auth_schemes::{
        bce_v1::{self, SignedNames, Terms},
        canonical::{AccessKey, Signable},
    },
    domain::{
        interface::Capability,
        vendor::{BaseUrl, SecretKey, Vendor},
    },
};
use serde_json::{Value, json};

use super::openai;
use crate::suite::{Body, Errand, Fixture, Suite};

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
    if fixture.capability() == "models" {
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
    suite.buy(fixture, vendor).map(drop)
}

/// Mistral: the SDK has words of its own for the seed and for what is embedded, and says that it wants no stream.
pub(crate) fn mistral(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let vendor = openai::vendor(fixture, "mistral")?;
    if fixture.capability() == "models" {
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
        return suite.buy(fixture, vendor).map(drop);
    }
    signature(fixture)
}

/// The signature itself: calls are not signed for as long as in these recordings, nor by the same headers.
fn signature(fixture: &Fixture) -> Result<(), String> {
    let request = fixture.request();
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let input = |name: &str| fixture.input(name).unwrap_or_default();
    let headers = request.get("headers").and_then(Value::as_object);
    let headers: Vec<(&str, &str)> = headers
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .filter(|(name, _)| *name != "authorization")
        .collect();
    let params = fixture.params();
    let names = params.get("headers_to_sign").and_then(Value::as_array);
    let names: Option<Vec<&str>> = names.map(|names| names.iter().filter_map(Value::as_str).collect());
    let seconds = fixture.number("expire_seconds").unwrap_or_default();
    let signed = bce_v1::sign(
        &Signable {
            method: text("method"),
            host: text("host"),
            path: text("path"),
            query: text("raw_query"),
            headers: &headers,
            body: &[text("body_text").to_owned().into()],
        },
        &AccessKey::new(input("access_key"), input("secret_key")),
        Terms {
            valid_seconds: u32::try_from(seconds).map_err(|error| error.to_string())?,
            names: names.as_deref().map_or(SignedNames::Default, SignedNames::These),
        },
        fixture.at().as_seconds(),
    );
    let wanted = request.pointer("/headers/authorization").and_then(Value::as_str);
    let found = signed.headers.iter().find(|(name, _)| *name == "authorization");
    let found = found.map(|(_, value)| value.as_str());
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{found:?}, wanted {wanted:?}")),
    }
}

/// Spark's HTTP mode.
pub(crate) fn spark(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
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
    let secret = fixture.input("secret_key").unwrap_or_default().to_owned();
    vendor.credential.secret_key = SecretKey::Present(secret.into());
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
