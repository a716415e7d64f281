//! Tenants, organisational units, menus, roles and dictionaries of a document.

use service_kit::{Timestamp, config::Problem};

use super::{Report, document::Document};
use crate::{
    domain::{
        directory::{DataPermission, Dictionary, DictionaryItem, Menu, Org, Role, Tenant},
        ids::{OrgId, RoleName, TenantId},
    },
    ports::store::{StoreResult, StoreTx, Upserted},
};

pub(super) struct PlannedDirectory {
    tenants: Vec<Tenant>,
    orgs: Vec<Org>,
    menus: Vec<Menu>,
    roles: Vec<Role>,
    dictionaries: Vec<Dictionary>,
}

const DATA_PERMISSIONS: &[(&str, DataPermission)] = &[
    ("all", DataPermission::All),
    ("org", DataPermission::Org),
    ("org_and_below", DataPermission::OrgAndBelow),
    ("self", DataPermission::Own),
    ("custom", DataPermission::Custom),
];

pub(super) fn plan(document: &Document, problems: &mut Vec<Problem>) -> PlannedDirectory {
    let tenants = document.tenant.iter().map(|doc| Tenant {
        id: TenantId::new(&*doc.id),
        name: doc.name.clone(),
        enabled: doc.enabled,
    });
    let orgs = document.org.iter().map(|doc| Org {
        id: OrgId::new(&*doc.id),
        tenant: TenantId::new(&*doc.tenant),
        name: doc.name.clone(),
        parent: doc.parent.as_deref().map(OrgId::new),
    });
    let menus = document.menu.iter().map(|doc| Menu {
        id: doc.id.clone(),
        tenant: TenantId::new(&*doc.tenant),
        title: doc.title.clone(),
        parent: doc.parent.clone(),
        path: doc.path.clone(),
        permission: doc.permission.clone(),
        position: doc.position,
    });
    let dictionaries = document.dictionary.iter().map(|doc| Dictionary {
        name: doc.name.clone(),
        tenant: TenantId::new(&*doc.tenant),
        description: doc.description.clone(),
        items: (0..)
            .zip(&doc.items)
            .map(|(position, item)| DictionaryItem {
                key: item.key.clone(),
                label: item.label.clone(),
                position,
            })
            .collect(),
    });
    PlannedDirectory {
        roles: roles(document, problems),
        tenants: tenants.collect(),
        orgs: orgs.collect(),
        menus: menus.collect(),
        dictionaries: dictionaries.collect(),
    }
}

fn roles(document: &Document, problems: &mut Vec<Problem>) -> Vec<Role> {
    let mut roles = Vec::new();
    for (at, doc) in document.role.iter().enumerate() {
        let asked = doc.data_permission.as_deref().unwrap_or("self");
        let Some((_, data_permission)) = DATA_PERMISSIONS.iter().find(|(word, _)| *word == asked) else {
            let words: Vec<_> = DATA_PERMISSIONS.iter().map(|(word, _)| *word).collect();
            problems.push(Problem::new(
                format!("role[{at}].data_permission"),
                format!("must be one of {}", words.join(", ")),
            ));
            continue;
        };
        if *data_permission != DataPermission::Custom && !doc.data_orgs.is_empty() {
            problems.push(Problem::new(
                format!("role[{at}].data_orgs"),
                "only data_permission = \"custom\" names orgs",
            ));
        }
        roles.push(Role {
            name: RoleName::new(&*doc.name),
            tenant: TenantId::new(&*doc.tenant),
            description: doc.description.clone(),
            permissions: doc.permissions.clone(),
            menus: doc.menus.clone(),
            data_permission: *data_permission,
            data_orgs: doc.data_orgs.iter().map(OrgId::new).collect(),
        });
    }
    roles
}

impl PlannedDirectory {
    /// Tenants that the document says are disabled.
    pub(super) fn disabled_tenants(&self) -> Vec<TenantId> {
        self.tenants
            .iter()
            .filter(|tenant| !tenant.enabled)
            .map(|tenant| tenant.id.clone())
            .collect()
    }

    /// Writes everything; returns the tenants that have just been disabled.
    pub(super) async fn write(
        &self,
        tx: &mut dyn StoreTx,
        now: Timestamp,
        report: &mut Report,
    ) -> StoreResult<Vec<TenantId>> {
        let mut disabled = Vec::new();
        for tenant in &self.tenants {
            let upserted = tx.upsert_tenant(tenant, now).await?;
            report.count("tenant", upserted);
            if upserted == Upserted::Updated && !tenant.enabled {
                disabled.push(tenant.id.clone());
            }
        }
        for org in &self.orgs {
            report.count("org", tx.upsert_org(org, now).await?);
        }
        for menu in &self.menus {
            report.count("menu", tx.upsert_menu(menu, now).await?);
        }
        for role in &self.roles {
            report.count("role", tx.upsert_role(role, now).await?);
        }
        for dictionary in &self.dictionaries {
            report.count("dictionary", tx.upsert_dictionary(dictionary, now).await?);
        }
        Ok(disabled)
    }
}
