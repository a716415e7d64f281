//! Which models a vendor has, by its own word: what an administrator writes into routes.

use std::{sync::Arc, time::Duration};

use service_kit::Clock;
use tokio::time::Instant;

use super::{
    administer::{Administer, AdministerError, By},
    invoke::{Paced, fault_of},
    registry::{BoundVendor, Registry},
    snapshots::Snapshots,
};
use crate::{
    domain::{
        config_row::{RowId, RowKind},
        fault::Fault,
        ids::VendorName,
    },
    ports::{codec::Models, transport::Deadlines},
};

/// A vendor has this long to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest page that vendors of pages give; without a word of it they give 20 models, or 50.
const LONGEST_PAGE: u32 = 1000;
/// Lists of the largest resellers have some hundred kilobytes.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

/// Asks vendors for their models.
#[derive(Debug)]
pub struct ListVendorModels {
    pub administer: Administer,
    pub snapshots: Arc<Snapshots>,
    pub registry: Arc<Registry>,
    pub clock: Arc<dyn Clock>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Administer(#[from] AdministerError),
    /// It is disabled, or its row is not in force yet.
    #[error("the vendor is not in use")]
    Unused,
    #[error("the vendor's strategy has no list of models")]
    Unlisted,
    #[error("the vendor did not tell")]
    Vendor(Box<Fault>),
}

impl ListVendorModels {
    /// The models as the vendor names them, for routes: its first page, where it has pages.
    ///
    /// # Errors
    /// [`ListError`]; a vendor out of reach is missing.
    pub async fn list(&self, by: By<'_>, name: &str) -> Result<Models, ListError> {
        let id = RowId::new(RowKind::Vendor, name);
        self.administer.load(by, &id).await?;
        let vendors = self.registry.bind(&self.snapshots.current());
        let vendor = vendors.find(&VendorName::new(name)).ok_or(ListError::Unused)?;
        self.ask(vendor).await.map_err(|mut error| {
            if let ListError::Vendor(fault) = &mut error {
                vendor.hide_in(&mut fault.words);
            }
            error
        })
    }

    async fn ask(&self, vendor: &BoundVendor) -> Result<Models, ListError> {
        let (mut request, list) = vendor.model_list(Some(LONGEST_PAGE)).ok_or(ListError::Unlisted)?;
        let told = async {
            let now = self.clock.now();
            let token = vendor.token(now).await?;
            vendor.signer.sign(&mut request, now, token.as_ref());
            let request = request.within(Deadlines {
                connect: DEADLINE,
                head: DEADLINE,
            });
            let reply = vendor.transport().send(request).await.map_err(fault_of)?;
            let body = Paced::new(reply.body, DEADLINE, Instant::now() + DEADLINE);
            let body = body.collect(MAX_LIST_BYTES).await?;
            match reply.status.is_success() {
                true => list.decode(&body),
                false => Err(vendor.read_list_fault(reply.status.as_u16(), &reply.headers, &body)),
            }
        };
        let told = told.await;
        told.map_err(|fault| ListError::Vendor(Box::new(fault)))
    }
}
