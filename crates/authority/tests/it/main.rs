//! Rules of authority hold for every combination.

use authority::{
    Audience, Caller, Denied, Mint, Origin, Pattern, PatternError, Permission, Principal, PrincipalKind,
    Role, SystemCtx, TenantGrant, Verb, permissions,
};
use base::{EnvironmentId, Slug, TenantId};
use proptest::prelude::*;

fn slug(text: &str) -> Slug {
    Slug::parse(text).expect("a slug in the test")
}

fn tenant(n: u8) -> TenantId {
    TenantId::from_uuid_bytes([n; 16])
}

fn member(role: Role, scopes: Option<Vec<Pattern>>) -> Caller {
    let grant = TenantGrant { tenant: tenant(1), role, scopes, environment: None };
    let mint = Mint::for_identity();
    Caller::tenant(&mint, grant, Principal::new(PrincipalKind::System, "test"), Origin::default())
}

fn operator() -> Caller {
    Caller::operator(&Mint::for_identity(), Principal::new(PrincipalKind::Operator, ""), Origin::default())
}

#[test]
fn a_resource_is_named_once_a_verb() {
    for (index, permission) in permissions::ALL.iter().enumerate() {
        assert!(!permissions::ALL[..index].iter().any(|other| other == permission), "{permission} twice");
        assert!(permission.resource.bytes().all(|b| b.is_ascii_lowercase()), "{permission}");
    }
}

#[test]
fn operators_may_everything_and_nobody_may_nothing() {
    let nobody = Caller::nobody(Origin::default());
    for permission in permissions::ALL {
        assert!(operator().may(permission, None));
        assert!(!nobody.may(permission, None));
        assert_eq!(nobody.require(permission, None), Err(Denied::Unauthenticated));
    }
}

#[test]
fn no_role_of_a_tenant_gets_what_operators_have() {
    let everything = Role::Custom(vec![Pattern::all()]);
    for role in Role::BUILT_IN.into_iter().chain([everything]) {
        for permission in permissions::ALL.iter().filter(|p| p.audience == Audience::Operator) {
            assert!(
                !member(role.clone(), None).may(permission, Some(&slug("development"))),
                "{role} {permission}"
            );
        }
    }
}

#[test]
fn roles_grant_what_the_specification_says() {
    let development = slug("development");
    let production = slug("production");
    let write = permissions::KEYS_WRITE;
    assert!(Role::Owner.allows(&permissions::OWNERS_WRITE, None));
    assert!(!Role::Admin.allows(&permissions::OWNERS_WRITE, None));
    assert!(!Role::Admin.allows(&permissions::TENANTS_DELETE, None));
    assert!(Role::Admin.allows(&write, Some(&production)));
    assert!(Role::Developer.allows(&write, Some(&development)));
    assert!(!Role::Developer.allows(&write, Some(&production)));
    assert!(!Role::Developer.allows(&write, None));
    assert!(Role::Viewer.allows(&permissions::KEYS_READ, None));
    assert!(!Role::Viewer.allows(&write, Some(&development)));
    let reveal = Permission { verb: Verb::Reveal, resource: "keys", audience: Audience::Tenant };
    assert!(!Role::Viewer.allows(&reveal, None) && !Role::Developer.allows(&reveal, Some(&development)));
}

#[test]
fn scopes_only_narrow() {
    let keys = Pattern::parse("read:keys").expect("a pattern");
    let everything = Some(vec![Pattern::all()]);
    assert!(member(Role::Owner, Some(vec![keys.clone()])).may(&permissions::KEYS_READ, None));
    assert!(!member(Role::Owner, Some(vec![keys])).may(&permissions::KEYS_WRITE, None));
    assert!(!member(Role::Viewer, everything).may(&permissions::KEYS_WRITE, None));
    assert!(!member(Role::Owner, Some(Vec::new())).may(&permissions::KEYS_READ, None));
}

#[test]
fn contexts_are_given_to_whom_they_belong() {
    let owner = member(Role::Owner, None);
    assert_eq!(owner.tenant_ctx(tenant(1)).expect("its own").tenant(), tenant(1));
    assert_eq!(owner.tenant_ctx(tenant(2)).expect_err("another's"), Denied::NotFound);
    assert_eq!(owner.system_ctx("listing").expect_err("not an operator"), Denied::Forbidden);
    assert_eq!(operator().tenant_ctx(tenant(2)).expect("any").tenant(), tenant(2));
    assert_eq!(operator().system_ctx("listing").expect("an operator").reason(), "listing");
    let nobody = Caller::nobody(Origin::default());
    assert_eq!(nobody.tenant_ctx(tenant(1)).expect_err("nobody"), Denied::Unauthenticated);
    assert_eq!(nobody.system_ctx("x").expect_err("nobody"), Denied::Unauthenticated);
    let system = SystemCtx::because("reconciling");
    assert_eq!(system.principal().to_string(), "system (reconciling)");
    assert_eq!(system.for_tenant(tenant(3)).tenant(), tenant(3));
}

#[test]
fn a_credential_stays_in_its_environment() {
    let here = EnvironmentId::from_uuid_bytes([1; 16]);
    let there = EnvironmentId::from_uuid_bytes([2; 16]);
    let grant = TenantGrant { tenant: tenant(1), role: Role::Owner, scopes: None, environment: Some(here) };
    let caller = Caller::tenant(&Mint::for_identity(), grant, Principal::nobody(), Origin::default());
    let context = caller.tenant_ctx(tenant(1)).expect("its own");
    assert_eq!(context.environment(), Some(here));
    assert!(context.clone().in_environment(here).is_ok());
    assert_eq!(context.in_environment(there).expect_err("bound elsewhere"), Denied::NotFound);
    let free = operator().tenant_ctx(tenant(1)).expect("any").in_environment(there).expect("free to choose");
    assert_eq!(free.environment(), Some(there));
}

#[test]
fn patterns_are_read_strictly() {
    for fine in ["read:*", "*:*", "write:keys", "write:*@test", "reveal:keys@production"] {
        assert_eq!(Pattern::parse(fine).expect("a pattern").to_string(), fine);
    }
    assert_eq!(Pattern::parse("read:*@*").expect("a pattern").to_string(), "read:*");
    for wrong in [
        "",
        "read",
        "read:",
        "reads:keys",
        ":keys",
        "read:keys@",
        "read:keys@A",
        "read:keys@a@b",
        "read: keys",
    ] {
        assert!(Pattern::parse(wrong).is_err(), "{wrong:?}");
    }
    let error = Pattern::parse("read:kyes").expect_err("a typo");
    assert_eq!(error, PatternError::Resource { nearest: Some("keys".to_owned()) });
    assert_eq!(error.to_string(), "no such resource; did you mean `keys`?");
}

#[test]
fn roles_survive_json() {
    let custom = Role::Custom(vec![Pattern::parse("write:*@test").expect("a pattern")]);
    for role in Role::BUILT_IN.into_iter().chain([custom]) {
        let json = serde_json::to_string(&role).expect("json");
        assert_eq!(serde_json::from_str::<Role>(&json).expect("what we wrote"), role);
    }
    assert!(serde_json::from_str::<Role>("\"root\"").is_err());
    assert!(serde_json::from_str::<Role>("[\"x\"]").is_err());
}

#[test]
fn nobody_can_hand_out_more_than_they_hold() {
    let environments = [slug("production"), slug("test")];
    let ordered = Role::BUILT_IN;
    for (above, role) in ordered.iter().enumerate() {
        for (below, other) in ordered.iter().enumerate() {
            assert_eq!(other.within(role, &environments), below >= above, "{other} within {role}");
        }
    }
}

#[test]
fn a12_a_role_of_an_environment_that_is_not_there_yet_is_within_none_that_lacks_it() {
    let custom = |texts: &[&str]| {
        Role::Custom(texts.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect())
    };
    let own = custom(&["read:*", "*:*@test", "write:members"]);
    assert!(custom(&["write:*@test"]).within(&own, &[slug("test")]));
    assert!(!custom(&["write:*@production"]).within(&own, &[slug("test")]), "it may be made tomorrow");
    assert!(!Role::Developer.within(&own, &[slug("test")]), "development may be made tomorrow");
    assert!(custom(&["write:jobs@production"]).within(&Role::Admin, &[]));
}

#[test]
fn the_matrix_has_a_line_a_permission() {
    let matrix = permissions::matrix();
    assert_eq!(matrix.lines().count(), permissions::ALL.len() + 1);
    assert!(
        matrix.contains("write:keys             yes       no        yes       yes       dev+test  no"),
        "{matrix}"
    );
}

proptest! {
    /// A pattern grants in an environment what it grants everywhere, never more.
    #[test]
    fn an_environment_only_narrows(verb in "(read|write|delete|reveal|\\*)", index in 0..permissions::ALL.len()) {
        let permission = &permissions::ALL[index];
        let wide = Pattern::parse(&format!("{verb}:*")).expect("a pattern");
        let narrow = Pattern::parse(&format!("{verb}:*@test")).expect("a pattern");
        for environment in [None, Some(slug("test")), Some(slug("production"))] {
            let allows = narrow.allows(permission, environment.as_ref());
            prop_assert!(!allows || wide.allows(permission, environment.as_ref()));
            prop_assert!(!allows || environment == Some(slug("test")));
        }
    }

    #[test]
    fn no_text_makes_patterns_panic(text in "(read|\\*|x)?:?\\PC{0,12}(@\\PC{0,5})?") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern.clone()));
        }
    }
}
