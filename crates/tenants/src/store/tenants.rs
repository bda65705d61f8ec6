//! Rows of tenants.

use std::collections::BTreeMap;

use base::{Email, ProjectId, Rate, Slug, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};

use super::unknown;
use crate::model::{Fields, Isolation, Status, Tenant, fold, prefix_end};

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "tenant, project, slug, name, email, plan, status, isolation, region, time_zone, billing_anchor_day, \
         rate_override, external_ids, metadata, revision, created_at, updated_at"
    };
}

const INSERT: Sql = Sql::One(
    "INSERT INTO tenants_tenants (tenant, project, slug, name, name_folded, email, email_key, plan, status, \
     isolation, region, time_zone, billing_anchor_day, rate_override, external_ids, metadata, revision, \
     created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1, $17, $17)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE tenants_tenants SET name = $3, name_folded = $4, email = $5, email_key = $6, plan = $7, \
     status = $8, isolation = $9, region = $10, time_zone = $11, billing_anchor_day = $12, \
     rate_override = $13, external_ids = $14, metadata = $15, updated_at = $16, revision = revision + 1 \
     WHERE tenant = $1 AND revision = $2",
);
const TOUCH: Sql =
    Sql::One("UPDATE tenants_tenants SET updated_at = $2, revision = revision + 1 WHERE tenant = $1");
const DELETE: Sql = Sql::One("DELETE FROM tenants_tenants WHERE tenant = $1");
const OWN: Sql = Sql::One(concat!("SELECT ", columns!(), " FROM tenants_tenants WHERE tenant = $1"));
/// crosses tenants: operators name a tenant by its slug.
const BY_SLUG: Sql = Sql::One("SELECT tenant FROM tenants_tenants WHERE project = $1 AND slug = $2");
/// crosses tenants: mail addresses are unique in the project.
const BY_EMAIL: Sql = Sql::One("SELECT tenant FROM tenants_tenants WHERE project = $1 AND email_key = $2");
/// Two rows tell that a slug alone is ambiguous. Asked project by project, which are few, as the index of slugs begins with the
/// project; a join would leave it to the planner, which may read all tenants instead.
/// crosses tenants: operators name a tenant by its slug.
const BY_SLUG_ANYWHERE: Sql = Sql::One(
    "SELECT found.tenant FROM (SELECT (SELECT t.tenant FROM tenants_tenants t \
     WHERE t.project = p.project AND t.slug = $1) AS tenant FROM tenants_projects p) found \
     WHERE found.tenant IS NOT NULL LIMIT 2",
);

/// A list in the order of ids, by the index that begins with what it is narrowed to: `$1` is the project, `$2` the id after
/// which it goes on, `$3` how many.
///
/// PostgreSQL takes the primary key for any order of ids where it can, and then walks past all tenants of other projects,
/// plans or states: its statistics do not tell that these come one after the other. So the order there names the
/// whole index, and what goes before the id is asked for in forms of which the planner does not know that they
/// leave one value, which would let it drop that column from the order: an array of one, a range of one.
macro_rules! list {
    ($also:expr) => {
        Sql::Split {
            sqlite: list!(@sqlite "", $also),
            postgres: list!(@postgres "", "project, tenant", $also),
        }
    };
    (of status, $also:expr) => {
        Sql::Split {
            sqlite: list!(@sqlite "AND status = $4 ", $also),
            postgres: list!(
                @postgres "AND status >= $4 AND status <= $4 ", "project, status, tenant", $also
            ),
        }
    };
    (of plan, $also:expr) => {
        Sql::Split {
            sqlite: list!(@sqlite "AND plan = $5 ", $also),
            postgres: list!(@postgres "AND plan >= $5 AND plan <= $5 ", "project, plan, tenant", $also),
        }
    };
    (@sqlite $of:literal, $also:expr) => {
        concat!(
            "SELECT ", columns!(), " FROM tenants_tenants WHERE project = $1 ", $of, "AND tenant > $2", $also,
            " ORDER BY tenant LIMIT $3"
        )
    };
    (@postgres $of:literal, $order:literal, $also:expr) => {
        concat!(
            "SELECT ", columns!(), " FROM tenants_tenants WHERE project = ANY (ARRAY[$1]) ", $of,
            "AND tenant > $2", $also, " ORDER BY ", $order, " LIMIT $3"
        )
    };
}
/// crosses tenants: operators list all tenants, and gateways hold them.
const PAGE: Sql = list!("");
/// crosses tenants: operators list all tenants.
const PAGE_OF_STATUS: Sql = list!(of status, " AND ($5 = '' OR plan = $5)");
/// crosses tenants: operators list all tenants.
const PAGE_OF_PLAN: Sql = list!(of plan, " AND ($4 = '' OR status = $4)");
/// How many tenants each of the three ranges of a search holds, counted no further than the limit.
/// crosses tenants: operators search in all tenants.
const SEARCH_BREADTH: Sql = Sql::One(
    "SELECT (SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT tenant FROM tenants_tenants \
     WHERE project = $1 AND slug >= $2 AND slug < $3 LIMIT $4) by_slug), \
     (SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT tenant FROM tenants_tenants \
     WHERE project = $1 AND name_folded >= $2 AND name_folded < $3 LIMIT $4) by_name), \
     (SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT tenant FROM tenants_tenants \
     WHERE project = $1 AND email_key >= $2 AND email_key < $3 LIMIT $4) by_email)",
);
/// A narrow search: the three ranges are read from three indexes, and what they find is sorted.
/// crosses tenants: operators search in all tenants.
const PAGE_OF_NARROW_SEARCH: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM tenants_tenants WHERE tenant IN (\
     SELECT tenant FROM tenants_tenants WHERE project = $1 AND slug >= $6 AND slug < $7 UNION \
     SELECT tenant FROM tenants_tenants WHERE project = $1 AND name_folded >= $6 AND name_folded < $7 UNION \
     SELECT tenant FROM tenants_tenants WHERE project = $1 AND email_key >= $6 AND email_key < $7) \
     AND tenant > $2 AND ($4 = '' OR status = $4) AND ($5 = '' OR plan = $5) ORDER BY tenant LIMIT $3"
));
/// A broad search: many tenants fit, so that walking them in the list's order soon fills a page. The functions
/// around the columns keep the planners from their indexes, which would find and sort all of them.
macro_rules! found {
    ($of:literal) => {
        concat!(
            $of,
            " AND (coalesce(slug, '') >= $6 AND coalesce(slug, '') < $7 \
             OR coalesce(name_folded, '') >= $6 AND coalesce(name_folded, '') < $7 \
             OR coalesce(email_key, '') >= $6 AND coalesce(email_key, '') < $7)"
        )
    };
}
/// crosses tenants: operators search in all tenants.
const PAGE_OF_BROAD_SEARCH: Sql = list!(found!(" AND ($4 = '' OR status = $4) AND ($5 = '' OR plan = $5)"));
/// crosses tenants: operators search in all tenants.
const PAGE_OF_BROAD_SEARCH_OF_STATUS: Sql = list!(of status, found!(" AND ($5 = '' OR plan = $5)"));
/// crosses tenants: operators search in all tenants.
const PAGE_OF_BROAD_SEARCH_OF_PLAN: Sql = list!(of plan, found!(" AND ($4 = '' OR status = $4)"));
/// crosses tenants: plans ask who is on them before they change.
/// Counted in two indexes, without a look at the rows.
const COUNT_ON_PLAN: Sql = Sql::One(
    "SELECT (SELECT CAST(COUNT(*) AS BIGINT) FROM tenants_tenants WHERE project = $1 AND plan = $2), \
     (SELECT CAST(COUNT(*) AS BIGINT) FROM tenants_tenants \
     WHERE project = $1 AND plan = $2 AND rate_override IS NOT NULL)",
);
/// crosses tenants: plans ask who is on them before they change. PostgreSQL as with lists.
const SLUGS_ON_PLAN: Sql = Sql::Split {
    sqlite: "SELECT slug FROM tenants_tenants WHERE project = $1 AND plan = $2 ORDER BY tenant LIMIT $3",
    postgres: "SELECT slug FROM tenants_tenants WHERE project = ANY (ARRAY[$1]) AND plan >= $2 AND plan <= $2 \
               ORDER BY project, plan, tenant LIMIT $3",
};

/// Tenants that a range of a narrow search may hold: finding and sorting them takes a few milliseconds. Of a
/// million tenants in which that many fit, a page of fifty is filled after some 25,000 rows.
const NARROW_MAX: u32 = 2_000;

/// Which tenants a list holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) plan: Option<Slug>,
    /// The beginning of a slug, name or mail address.
    pub(crate) search: Option<String>,
}

pub(crate) fn insert(tx: &mut TenantTx, tenant: &Tenant) -> Result<(), Error> {
    let fields = &tenant.fields;
    tx.execute(
        &INSERT,
        &params![
            tenant.project,
            tenant.slug.clone(),
            fields.name.as_str(),
            fold(&fields.name),
            fields.email.as_str(),
            fields.email.key(),
            fields.plan.clone(),
            fields.status.word(),
            fields.isolation.word(),
            fields.region.clone(),
            fields.time_zone.as_str(),
            i64::from(fields.billing_anchor_day),
            fields.rate_override.map(|rate| rate.to_string()),
            json_text(&fields.external_ids)?,
            json_text(&fields.metadata)?,
            tenant.created_at
        ],
    )?;
    Ok(())
}

/// Writes the fields if the row still has the revision that was read. Whether it had.
pub(crate) fn update(tx: &mut TenantTx, tenant: &Tenant, now: Timestamp) -> Result<bool, Error> {
    let fields = &tenant.fields;
    let changed = tx.execute(
        &UPDATE,
        &params![
            tenant.revision,
            fields.name.as_str(),
            fold(&fields.name),
            fields.email.as_str(),
            fields.email.key(),
            fields.plan.clone(),
            fields.status.word(),
            fields.isolation.word(),
            fields.region.clone(),
            fields.time_zone.as_str(),
            i64::from(fields.billing_anchor_day),
            fields.rate_override.map(|rate| rate.to_string()),
            json_text(&fields.external_ids)?,
            json_text(&fields.metadata)?,
            now
        ],
    )?;
    Ok(changed == 1)
}

/// Takes the next revision without changing a field: something that belongs to the tenant changed.
pub(crate) fn touch(tx: &mut TenantTx, now: Timestamp) -> Result<(), Error> {
    tx.execute(&TOUCH, &params![now])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut TenantTx) -> Result<(), Error> {
    tx.execute(&DELETE, &params![])?;
    Ok(())
}

/// The transaction's own tenant.
pub(crate) fn own(tx: &mut TenantTx) -> Result<Option<Tenant>, Error> {
    tx.query_opt(&OWN, &params![])?.map(|row| read(&row)).transpose()
}

pub(crate) fn id_of_slug(
    tx: &mut SystemTx,
    project: ProjectId,
    slug: &Slug,
) -> Result<Option<TenantId>, Error> {
    tx.query_opt(&BY_SLUG, &params![project, slug.clone()])?.map(|row| row.get(0)).transpose()
}

pub(crate) fn id_of_email(
    tx: &mut SystemTx,
    project: ProjectId,
    email: &Email,
) -> Result<Option<TenantId>, Error> {
    tx.query_opt(&BY_EMAIL, &params![project, email.key()])?.map(|row| row.get(0)).transpose()
}

/// The tenant of a slug when there is exactly one over all projects.
pub(crate) fn id_of_slug_anywhere(tx: &mut SystemTx, slug: &Slug) -> Result<Option<TenantId>, Error> {
    match tx.query(&BY_SLUG_ANYWHERE, &params![slug.clone()])?.as_slice() {
        [only] => only.get(0).map(Some),
        _ => Ok(None),
    }
}

/// Tenants of a project by id after `after` (empty for the first), at most `limit`.
pub(crate) fn page(
    tx: &mut SystemTx,
    project: ProjectId,
    filter: &Filter,
    after: &str,
    limit: u32,
) -> Result<Vec<Tenant>, Error> {
    let status = filter.status.map_or("", Status::word);
    let plan = filter.plan.as_ref().map_or("", Slug::as_str);
    // Most tenants are active: that status narrows nothing, any other does more than a plan.
    let by_status = filter.status.is_some_and(|status| status != Status::Active || plan.is_empty());
    let rows = match &filter.search {
        Some(search) => {
            let prefix = fold(search);
            let end = prefix_end(&prefix);
            let sql = match is_broad(tx, project, &prefix, &end)? {
                false => &PAGE_OF_NARROW_SEARCH,
                true if by_status => &PAGE_OF_BROAD_SEARCH_OF_STATUS,
                true if !plan.is_empty() => &PAGE_OF_BROAD_SEARCH_OF_PLAN,
                true => &PAGE_OF_BROAD_SEARCH,
            };
            tx.query(sql, &params![project, after, limit, status, plan, prefix, end])?
        }
        None if by_status => tx.query(&PAGE_OF_STATUS, &params![project, after, limit, status, plan])?,
        None if !plan.is_empty() => tx.query(&PAGE_OF_PLAN, &params![project, after, limit, status, plan])?,
        None => tx.query(&PAGE, &params![project, after, limit])?,
    };
    rows.iter().map(read).collect()
}

/// Whether any of the three ranges of a search holds [`NARROW_MAX`] tenants or more.
fn is_broad(tx: &mut SystemTx, project: ProjectId, prefix: &str, end: &str) -> Result<bool, Error> {
    let row = tx.query_one(&SEARCH_BREADTH, &params![project, prefix, end, NARROW_MAX])?;
    (0..3).try_fold(false, |broad, range| Ok(broad || row.get::<u32>(range)? >= NARROW_MAX))
}

/// How many tenants are on a plan, and how many of those have a rate of their own.
pub(crate) fn count_on_plan(tx: &mut SystemTx, project: ProjectId, plan: &Slug) -> Result<(u64, u64), Error> {
    let row = tx.query_one(&COUNT_ON_PLAN, &params![project, plan.clone()])?;
    let number = |index| row.get::<i64>(index).map(|n| u64::try_from(n).unwrap_or(0));
    Ok((number(0)?, number(1)?))
}

/// Slugs of the first tenants on a plan.
pub(crate) fn slugs_on_plan(
    tx: &mut SystemTx,
    project: ProjectId,
    plan: &Slug,
    limit: u32,
) -> Result<Vec<Slug>, Error> {
    let rows = tx.query(&SLUGS_ON_PLAN, &params![project, plan.clone(), limit])?;
    rows.iter().map(|row| row.get::<Slug>(0)).collect()
}

fn json_text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Decode("write a tenant's JSON column".to_owned()))
}

fn read(row: &Row) -> Result<Tenant, Error> {
    let rate = row.get::<Option<String>>(11)?;
    let external_ids: BTreeMap<String, String> =
        serde_json::from_str(&row.get::<String>(12)?).map_err(|_| unknown("external_ids"))?;
    Ok(Tenant {
        id: row.get::<TenantId>(0)?,
        project: row.get::<ProjectId>(1)?,
        slug: row.get::<Slug>(2)?,
        fields: Fields {
            name: row.get::<String>(3)?,
            email: Email::parse(&row.get::<String>(4)?).map_err(|_| unknown("email"))?,
            plan: row.get::<Slug>(5)?,
            status: Status::parse(&row.get::<String>(6)?).ok_or_else(|| unknown("status"))?,
            isolation: Isolation::parse(&row.get::<String>(7)?).ok_or_else(|| unknown("isolation"))?,
            region: row.get::<Option<String>>(8)?,
            time_zone: row.get::<String>(9)?,
            billing_anchor_day: u8::try_from(row.get::<i64>(10)?)
                .map_err(|_| unknown("billing_anchor_day"))?,
            rate_override: rate
                .map(|text| Rate::parse(&text).map_err(|_| unknown("rate_override")))
                .transpose()?,
            external_ids,
            metadata: serde_json::from_str(&row.get::<String>(13)?).map_err(|_| unknown("metadata"))?,
        },
        revision: row.get::<i64>(14)?,
        created_at: row.get::<Timestamp>(15)?,
        updated_at: row.get::<Timestamp>(16)?,
    })
}
