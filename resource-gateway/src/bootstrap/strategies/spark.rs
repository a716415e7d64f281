//! iFlytek's Spark over its WebSocket.

use std::sync::Arc;

use super::{optional, profiled};
use crate::{
    adapters::{
        auth_schemes::spark_url::SparkUrl,
        dialects::{
            spark::{Spark, VERSION},
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{interface::Capability, snapshot::Need, vendor::BaseUrl},
    ports::transport::Transport,
};

pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let mut profile = profiled(
        "spark-websocket",
        vec![(Capability::Chat, Arc::new(Chat(Spark)))],
        Arc::new(SparkUrl),
        transport,
    );
    profile.facts.app_id = Need::Required;
    profile.facts.secret_id = Need::Required;
    profile.facts.options.push(optional(VERSION));
    profile.default_base_url = Some(BaseUrl::parse("https://spark-api.xf-yun.com")?);
    Ok(profile)
}
