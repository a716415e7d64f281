//! The factory of strategies: what a vendor's `strategy` stands for. Nothing else looks at strategy names.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use secrecy::SecretString;
use service_kit::Timestamp;

use super::{
    invoke::passing,
    pools::{BoundPool, Endpoints, PoolStatus, Source},
    tokens::Tokens,
};
use crate::{
    domain::{
        fault::{Fault, FaultClass},
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
        domain::snapshot::Need,
        ports::chat::ChatDialect as _,
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
