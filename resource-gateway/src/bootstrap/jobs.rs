//! What takes jobs, runs them and tells of their ends.

use std::sync::{Arc, atomic::AtomicI64};

use service_kit::Tasks;
use tokio::sync::Mutex;

use super::Foundation;
use crate::{
    adapters::sql::SqlJobs,
    application::{
        invoke::Invoke,
        jobs::{Jobs, TellEnds, UnderWay, Wakes, WebhookSecrets, WorkJobs},
        revocations::Revocations,
    },
    config::Config,
    domain::ids::NodeId,
};

/// What runs beside the requests.
#[derive(Debug)]
pub(super) struct JobTasks {
    work: Arc<WorkJobs>,
    tell: Arc<TellEnds>,
}

impl JobTasks {
    pub(super) fn start(&self, tasks: &Tasks) {
        self.work.start(tasks);
        self.tell.start(tasks);
    }
}

pub(super) fn build(config: &Config, foundation: &Foundation) -> anyhow::Result<Arc<Jobs>> {
    Ok(Arc::new(Jobs {
        store: Arc::new(SqlJobs::new(foundation.db.clone(), Arc::clone(&foundation.master))),
        webhooks: foundation.webhooks.clone(),
        secrets: WebhookSecrets::new(foundation.master.derive(WebhookSecrets::PURPOSE)?),
        clock: Arc::clone(&foundation.ambient.clock),
        entropy: Arc::clone(&foundation.ambient.entropy),
        max_request_bytes: config.jobs.max_request_bytes,
        wakes: Wakes::default(),
    }))
}

impl Foundation {
    pub(super) fn job_tasks(
        &self,
        config: &Config,
        jobs: Arc<Jobs>,
        invoke: Invoke,
        revocations: &Arc<Revocations>,
    ) -> JobTasks {
        let work = WorkJobs {
            jobs: Arc::clone(&jobs),
            invoke: invoke.clone(),
            revocations: Arc::clone(revocations),
            access_keys: self.key_store(),
            node: NodeId::new(self.ambient.entropy.id()),
            workers: config.jobs.workers,
            max_result_bytes: config.jobs.max_result_bytes,
            turn: Mutex::default(),
            leased_until: AtomicI64::new(0),
        };
        let tell = TellEnds {
            jobs,
            invoke,
            public_url: config.base_url().to_owned(),
            turn: Mutex::default(),
            under_way: UnderWay::default(),
        };
        JobTasks {
            work: Arc::new(work),
            tell: Arc::new(tell),
        }
    }
}
