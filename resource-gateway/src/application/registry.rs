//! The factory of strategies: what a vendor's `strategy` stands for. Nothing else looks at strategy names.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use super::{
    invoke::passing,
    pools::{BoundPool, Endpoints, PoolStatus, Source},
    tokens::Tokens,
};
use crate::{
    domain::{
        fault::{Fault, FaultClass, VendorWords},
        ids::{StrategyName, VendorName},
        interface::Capability,
        snapshot::{Snapshot, StrategyCatalog, StrategyFacts},
        vendor::{Address, BaseUrl, PoolStrategy, Vendor},
    },
    ports::{
        codec::{AuthScheme, Codec, Encoded, ModelList, Outgoing, Signer},
        transport::Transport,
    },
};

const USER_AGENT: &str = concat!("hexgate/", env!("CARGO_PKG_VERSION"));

/// A strategy: wire format, auth scheme and transport, and what its vendors must be configured with.
#[derive(Debug)]
pub struct Profile {
    pub name: &'static str,
    /// What it can do. A capability that is not here does not exist; there are no entries that refuse.
    pub codecs: Vec<(Capability, Arc<dyn Codec>)>,
    /// What stands in the place of some of them where a vendor's options say so.
    pub instead: Vec<Instead>,
    pub scheme: Arc<dyn AuthScheme>,
    pub transport: Arc<dyn Transport>,
    /// Used when a vendor names no address.
    pub default_base_url: Option<BaseUrl>,
    pub facts: StrategyFacts,
}

/// A codec for vendors that have an option set to this value: those that offer a capability in two wire formats.
#[derive(Debug)]
pub struct Instead {
    pub option: &'static str,
    pub value: &'static str,
    pub capability: Capability,
    pub codec: Arc<dyn Codec>,
}

/// What stands for the vendor's option `region` in a codec's home.
const REGION: &str = "{region}";

impl Profile {
    /// The codecs of a vendor, as its options choose them.
    fn codecs_of(&self, vendor: &Vendor) -> Vec<(Capability, Arc<dyn Codec>)> {
        let mut codecs = self.codecs.clone();
        for (capability, codec) in &mut codecs {
            let chosen = self.instead.iter().find(|instead| {
                let value = vendor.options.get(instead.option);
                instead.capability == *capability && value.is_some_and(|value| value == instead.value)
            });
            if let Some(chosen) = chosen {
                *codec = Arc::clone(&chosen.codec);
            }
        }
        codecs
    }

    /// Where a vendor has its home that has one in each region; `None` where regions do not matter.
    fn regional_home(&self, vendor: &Vendor) -> Result<Option<BaseUrl>, String> {
        let mut homes = self.codecs.iter().filter_map(|(_, codec)| codec.home());
        let Some(home) = homes.find(|home| home.contains(REGION)) else {
            return Ok(None);
        };
        let region = vendor.options.get("region").ok_or("it has no option region")?;
        // Nothing but a name within a host.
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("its option region is the name of no region".to_owned());
        }
        let home = BaseUrl::parse(&home.replace(REGION, region));
        home.map(Some).map_err(|error| format!("its home {error}"))
    }
}

/// All strategies of this version.
pub struct Registry {
    profiles: HashMap<&'static str, Arc<Profile>>,
    /// The vendors of the snapshots that were asked for last, made ready once and not for every request.
    bound: ArcSwap<Bound>,
    /// What is known of their addresses, across snapshots.
    endpoints: Endpoints,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.profiles.keys()).finish()
    }
}

/// The newest, and the one before: requests that began with that one still ask for it while others have the new one.
#[derive(Debug, Default, Clone)]
struct Bound {
    newest: Arc<BoundVendors>,
    before: Arc<BoundVendors>,
}

impl Bound {
    fn find(&self, snapshot: &Arc<Snapshot>) -> Option<&Arc<BoundVendors>> {
        let of = |bound: &&Arc<BoundVendors>| {
            let known = bound.snapshot.as_ref();
            known.is_some_and(|known| Arc::ptr_eq(known, snapshot))
        };
        [&self.newest, &self.before].into_iter().find(of)
    }
}

/// The vendors of one snapshot, ready to be called.
#[derive(Debug, Default)]
pub struct BoundVendors {
    /// Whose vendors these are.
    snapshot: Option<Arc<Snapshot>>,
    vendors: HashMap<VendorName, Arc<BoundVendor>>,
}

impl BoundVendors {
    /// The vendor, unless it is disabled or cannot be used.
    pub fn find(&self, name: &VendorName) -> Option<&Arc<BoundVendor>> {
        self.vendors.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<BoundVendor>> {
        self.vendors.values()
    }
}

/// A vendor with its strategy: everything that is the same for all calls.
#[derive(Debug)]
pub struct BoundVendor {
    pub name: VendorName,
    pub pool: BoundPool,
    pub signer: Box<dyn Signer>,
    pub tokens: Tokens,
    /// The row.
    pub row: Arc<Vendor>,
    transport: Arc<dyn Transport>,
    headers: HeaderMap,
    codecs: Vec<(Capability, Arc<dyn Codec>)>,
}

impl BoundVendor {
    pub fn codec(&self, capability: Capability) -> Option<&Arc<dyn Codec>> {
        self.codecs
            .iter()
            .find(|(known, _)| *known == capability)
            .map(|(_, codec)| codec)
    }

    /// Takes out of what the vendor says whatever gives us away: the key, and the token that was bought with it.
    pub fn hide_in(&self, words: &mut VendorWords) {
        self.row.credential.hide_in(words);
        if let Some(token) = self.tokens.known() {
            words.hide(token.expose_secret());
        }
    }

    /// Whether a text of the vendor's gives the key or such a token away.
    pub fn is_shown_in(&self, text: &[u8]) -> bool {
        let shows_token = |token: SecretString| {
            let text = String::from_utf8_lossy(text);
            let quoted: String = form_urlencoded::byte_serialize(token.expose_secret().as_bytes()).collect();
            text.contains(token.expose_secret()) || text.contains(&quoted)
        };
        self.signer.is_shown_in(text) || self.tokens.known().is_some_and(shows_token)
    }

    /// By which it is reached.
    pub(super) fn transport(&self) -> &dyn Transport {
        self.transport.as_ref()
    }

    /// Why it did not tell its models.
    pub(super) fn read_list_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        match self.codec(Capability::Chat) {
            Some(codec) => codec.decode_fault(status, headers, body),
            None => Fault::of(FaultClass::of_status(status)),
        }
    }

    /// Headers that every call carries.
    pub fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// Where a capability lies at the first address.
    pub fn place(&self, capability: Capability) -> Option<Uri> {
        self.pool.first_uri(capability)
    }

    /// Asks for the vendor's models, complete but for the signature; `None` when nobody knows how.
    pub fn model_list(&self, limit: Option<u32>) -> Option<(Outgoing, &dyn ModelList)> {
        let codec = self.codec(Capability::Chat)?;
        let list = codec.models()?;
        let chat = self.place(Capability::Chat)?.to_string();
        let base = chat.strip_suffix(codec.path())?;
        // An address without a path has a slash all the same.
        let place = format!("{}{}", base.trim_end_matches('/'), list.path()).parse().ok();
        let asked = self.outgoing(place, list.encode(limit)).ok()?;
        Some((asked, list))
    }

    /// A call that is complete but for its signature. `base` is the codec's own place at an address.
    ///
    /// # Errors
    /// There is no such place.
    pub fn outgoing(&self, base: Option<Uri>, encoded: Encoded) -> Result<Outgoing, Fault> {
        let mut headers = self.headers();
        let Encoded {
            content_type,
            accept,
            body,
            dialogue,
            place,
            dropped: _,
            ends_elsewhere: _,
        } = encoded;
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::ACCEPT, accept);
        let (mut method, mut uri) = (Method::POST, base);
        if let Some(place) = place {
            method = passing::prepare(*place, &mut uri, &mut headers, body.is_empty());
        }
        Ok(Outgoing {
            method,
            uri: uri.ok_or_else(|| Fault::of(FaultClass::Transport))?,
            headers,
            body,
            dialogue,
        })
    }

    /// The token that signs calls, where the scheme wants one that is bought.
    ///
    /// # Errors
    /// It is not sold.
    pub async fn token(&self, at: Timestamp) -> Result<Option<SecretString>, Fault> {
        match self.signer.exchange() {
            None => Ok(None),
            Some(exchange) => self.tokens.get(exchange, self.transport.as_ref(), at).await.map(Some),
        }
    }
}

impl Registry {
    pub fn new(profiles: Vec<Profile>) -> Self {
        let profiles = profiles
            .into_iter()
            .map(|profile| (profile.name, Arc::new(profile)))
            .collect();
        Self {
            profiles,
            bound: ArcSwap::default(),
            endpoints: Endpoints::default(),
        }
    }

    /// What is known of addresses, whatever the snapshot.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// How it stands with the addresses of a snapshot, by vendor.
    pub fn status(&self, snapshot: &Arc<Snapshot>, now: Timestamp) -> Vec<PoolStatus> {
        let bound = self.bind(snapshot);
        let mut status: Vec<_> = bound.iter().map(|vendor| vendor.pool.status(now)).collect();
        status.sort_by(|a, b| a.vendor.cmp(&b.vendor));
        status
    }

    /// The snapshot's vendors, ready to be called.
    pub fn bind(&self, snapshot: &Arc<Snapshot>) -> Arc<BoundVendors> {
        if let Some(known) = self.bound.load().find(snapshot) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(self.bind_all(snapshot));
        // Another request may have been quicker with the same snapshot.
        self.bound.rcu(|bound| match bound.find(snapshot) {
            Some(_) => Arc::clone(bound),
            None => Arc::new(Bound {
                newest: Arc::clone(&fresh),
                before: Arc::clone(&bound.newest),
            }),
        });
        self.endpoints.forget_unused();
        self.bound.load().find(snapshot).map_or(fresh, Arc::clone)
    }

    fn bind_all(&self, snapshot: &Arc<Snapshot>) -> BoundVendors {
        let mut vendors = HashMap::new();
        for vendor in snapshot.vendors().filter(|vendor| vendor.enabled.is_on()) {
            match self.bind_one(vendor) {
                Ok(bound) => {
                    vendors.insert(vendor.name.clone(), Arc::new(bound));
                }
                Err(reason) => tracing::error!(vendor.name = %vendor.name, reason, "a vendor cannot be used"),
            }
        }
        BoundVendors {
            snapshot: Some(Arc::clone(snapshot)),
            vendors,
        }
    }

    /// A vendor by itself, ready to be called.
    ///
    /// # Errors
    /// It cannot be used; the text does not hold its credential.
    pub fn bind_one(&self, vendor: &Arc<Vendor>) -> Result<BoundVendor, String> {
        let profile = self
            .profiles
            .get(vendor.strategy.as_str())
            .ok_or("its strategy is unknown")?;
        let mut addresses = vendor.endpoints();
        let codecs = profile.codecs_of(vendor);
        let unplaced = addresses.is_empty();
        if unplaced {
            let default = match profile.regional_home(vendor)? {
                Some(regional) => regional,
                None => profile.default_base_url.clone().ok_or("it has no address")?,
            };
            addresses.push(Address {
                url: default,
                weight: 1,
            });
        }
        let source = |address: Address| {
            let uri = |(capability, codec): &(Capability, Arc<dyn Codec>)| {
                // A vendor that has a host for each capability is called there unless it was placed elsewhere.
                let home = codec.home().filter(|home| unplaced && !home.contains(REGION));
                let base = home.unwrap_or(address.url.as_str());
                let uri: Uri = format!("{base}{}", codec.path()).parse().ok()?;
                Some((*capability, uri))
            };
            let uris = codecs.iter().map(uri).collect::<Option<_>>()?;
            Some(Source { address, uris })
        };
        let sources = addresses.into_iter().map(source).collect::<Option<Vec<_>>>();
        let sources = sources.ok_or("one of its addresses cannot be used")?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        // Answers are read on the way through, so they must not come compressed.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(BoundVendor {
            name: vendor.name.clone(),
            pool: BoundPool::new(vendor, sources, Arc::clone(&profile.transport), &self.endpoints),
            signer: profile.scheme.signer(vendor)?,
            tokens: Tokens::default(),
            row: Arc::clone(vendor),
            transport: Arc::clone(&profile.transport),
            headers,
            codecs,
        })
    }
}

impl StrategyCatalog for Registry {
    fn find_strategy(&self, name: &StrategyName) -> Option<StrategyFacts> {
        self.profiles.get(name.as_str()).map(|profile| profile.facts.clone())
    }

    fn strategy_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.profiles.keys().copied().collect();
        names.sort_unstable();
        names
    }

    fn pool_strategies(&self) -> &[PoolStrategy] {
        &PoolStrategy::ALL
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::{
        adapters::{
            auth_schemes::Unsigned,
            dialects::{
                bedrock::BedrockChat,
                openai::{OpenAiDialect, OpenAiEmbeddings},
                translated::Chat,
            },
            upstream::HyperTransport,
        },
        domain::{snapshot::Need, vendor::SecretKey},
        ports::chat::ChatDialect as _,
        ports::{
            codec::{Bought, Exchange},
            transport::{TransportError, UpstreamReply, UpstreamRequest},
        },
    };

    fn profile(codec: Arc<dyn Codec>) -> Profile {
        Profile {
            name: "s",
            codecs: vec![(Capability::Chat, codec)],
            instead: Vec::new(),
            scheme: Arc::new(Unsigned),
            transport: Arc::new(HyperTransport::new(None).unwrap()),
            default_base_url: None,
            facts: StrategyFacts {
                capabilities: Vec::new(),
                base_url: Need::Optional,
                pool: Need::Optional,
                app_id: Need::Unused,
                secret_id: Need::Unused,
                secret_key: Need::Unused,
                options: Vec::new(),
            },
        }
    }

    #[test]
    fn an_option_chooses_between_the_formats_of_a_capability() {
        let mut profile = profile(Arc::new(Chat(OpenAiDialect)));
        profile
            .codecs
            .push((Capability::Embeddings, Arc::new(OpenAiEmbeddings)));
        profile.instead.push(Instead {
            option: "api",
            value: "other",
            capability: Capability::Chat,
            codec: Arc::new(Chat(BedrockChat)),
        });
        let chosen = |api: Option<&str>| {
            let mut vendor = Vendor::named("v", "s");
            vendor.options.extend(api.map(|api| ("api".to_owned(), api.to_owned())));
            let codecs = profile.codecs_of(&vendor).into_iter();
            codecs.map(|(_, codec)| codec.path()).collect::<Vec<_>>()
        };
        assert_eq!(chosen(None), ["/chat/completions", "/embeddings"]);
        assert_eq!(chosen(Some("chat")), ["/chat/completions", "/embeddings"]);
        assert_eq!(chosen(Some("other")), [BedrockChat.path(), "/embeddings"]);
    }

    /// Sells one token.
    #[derive(Debug)]
    struct Shop;

    impl AuthScheme for Shop {
        fn signer(&self, _: &Vendor) -> Result<Box<dyn Signer>, String> {
            Ok(Box::new(Self))
        }
    }

    impl Signer for Shop {
        fn sign(&self, _: &mut Outgoing, _: Timestamp, _: Option<&SecretString>) {}

        fn is_shown_in(&self, text: &[u8]) -> bool {
            text == b"key"
        }

        fn exchange(&self) -> Option<&dyn Exchange> {
            Some(self)
        }
    }

    impl Exchange for Shop {
        fn request(&self, _: Timestamp) -> Outgoing {
            Outgoing {
                method: Method::GET,
                uri: Uri::from_static("http://local.invalid/"),
                headers: HeaderMap::new(),
                body: Vec::new(),
                dialogue: None,
            }
        }

        fn read(&self, _: u16, _: &HeaderMap, _: &[u8], at: Timestamp) -> Result<Bought, Fault> {
            Ok(Bought {
                token: SecretString::from("24.abc+/def"),
                good_until: at + Duration::from_secs(60),
            })
        }
    }

    #[async_trait::async_trait]
    impl Transport for Shop {
        async fn send(&self, _: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
            Ok(UpstreamReply {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Box::pin(http_body_util::Empty::new().map_err(|never| match never {})),
            })
        }

        fn pinned(&self, _: std::net::IpAddr) -> Option<Arc<dyn Transport>> {
            None
        }
    }

    #[tokio::test]
    async fn neither_a_key_nor_its_parts_nor_a_token_that_it_bought_are_told() {
        let mut shop = profile(Arc::new(Chat(OpenAiDialect)));
        shop.scheme = Arc::new(Shop);
        shop.transport = Arc::new(Shop);
        shop.default_base_url = BaseUrl::parse("http://local.invalid").ok();
        let mut vendor = Vendor::named("v", "s");
        let key = SecretString::from("secret-of-the-key token-of-the-session");
        vendor.credential.secret_key = SecretKey::Present(key);
        let bound = Registry::new(vec![shop]).bind_one(&Arc::new(vendor)).unwrap();
        assert!(!bound.is_shown_in(b"access_token=24.abc%2B%2Fdef"));
        bound.token(Timestamp::from_seconds(0)).await.unwrap();
        let mut words = VendorWords {
            message: Some("url=/v1?access_token=24.abc%2B%2Fdef by 24.abc+/def of secret-of-the-key".into()),
            param: Some("token-of-the-session".into()),
            code: Some("code".into()),
            ..VendorWords::default()
        };
        bound.hide_in(&mut words);
        assert_eq!(
            words.message.as_deref(),
            Some("url=/v1?access_token=[secret] by [secret] of [secret]")
        );
        assert_eq!(
            (words.param.as_deref(), words.code.as_deref()),
            (Some("[secret]"), Some("code"))
        );
        assert!(bound.is_shown_in(b"access_token=24.abc%2B%2Fdef") && bound.is_shown_in(b"x24.abc+/defx"));
        assert!(bound.is_shown_in(b"key") && !bound.is_shown_in(b"24.abc"));
    }

    #[test]
    fn a_vendor_with_regions_is_at_home_in_its_own() {
        let regional = profile(Arc::new(Chat(BedrockChat)));
        let home = |region: &str| {
            let mut vendor = Vendor::named("v", "s");
            vendor.options.insert("region".to_owned(), region.to_owned());
            regional
                .regional_home(&vendor)
                .map(|home| home.unwrap().as_str().to_owned())
        };
        assert_eq!(
            home("eu-west-1").unwrap(),
            "https://bedrock-runtime.eu-west-1.amazonaws.com"
        );
        for region in ["x.evil.test/", "a@b", "a.b", "{region}"] {
            assert!(home(region).is_err(), "{region}");
        }
        assert!(regional.regional_home(&Vendor::named("v", "s")).is_err());
        let single = profile(Arc::new(Chat(OpenAiDialect)));
        assert_eq!(single.regional_home(&Vendor::named("v", "s")), Ok(None));
    }
}
