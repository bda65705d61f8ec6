//! Which route a request takes.

use crate::hash::Fold;
use crate::model::{HostPattern, Route};
use std::collections::HashMap;
use std::sync::Arc;

/// All routes of an environment. Finding one takes a look-up for each label of the host and each segment of the
/// path, up to the longest path that any route has, whatever the number of routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Paths, Fold>,
    below: HashMap<Box<str>, Paths, Fold>,
    any: Paths,
    count: usize,
}

#[derive(Debug, Default)]
struct Paths {
    by_prefix: HashMap<Box<str>, Arc<Route>, Fold>,
    longest: usize,
}

/// The path as sent and as routes see it lead to different routes, so that gateway and application might disagree
/// on which one was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

impl RouteTable {
    /// A table of these. Of two with the same host and path the last one counts; the store refuses such.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let paths = match &route.host {
                HostPattern::Exact(host) => table.exact.entry(host.as_str().into()).or_default(),
                HostPattern::Below(host) => table.below.entry(host.as_str().into()).or_default(),
                HostPattern::Any => &mut table.any,
            };
            paths.longest = paths.longest.max(route.prefix.len());
            paths.by_prefix.insert(route.prefix.clone(), route);
            table.count += 1;
        }
        table
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The route of a host and a path: the host itself, then names it is below, nearest first, then any; within each
    /// the longest path. `plain` is the path as routes see it, `sent` as it was sent.
    ///
    /// # Errors
    /// [`Ambiguous`] when the two forms of the path lead to different routes.
    pub fn find(&self, host: &str, plain: &str, sent: &str) -> Result<Option<&Arc<Route>>, Ambiguous> {
        let found = self.find_one(host, plain);
        if plain.len() == sent.len() && plain == sent {
            return Ok(found);
        }
        let other = self.find_one(host, sent);
        let same = match (found, other) {
            (Some(found), Some(other)) => Arc::ptr_eq(found, other),
            (None, None) => true,
            _ => false,
        };
        if same { Ok(found) } else { Err(Ambiguous) }
    }

    fn find_one(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(route);
        }
        if !self.below.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(route) = self.below.get(parent).and_then(|paths| paths.find(path)) {
                    return Some(route);
                }
                rest = parent;
            }
        }
        self.any.find(path)
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let mut prefix = path.strip_suffix('/').unwrap_or(path);
        if prefix.len() > self.longest {
            // Only whole segments match: cut at the last slash that leaves no more than the longest.
            let mut end = self.longest + 1;
            while !prefix.is_char_boundary(end) {
                end -= 1;
            }
            prefix = prefix[..end].rfind('/').map_or("", |slash| &prefix[..slash]);
        }
        loop {
            if let Some(route) = self.by_prefix.get(prefix) {
                return Some(route);
            }
            prefix = &prefix[..prefix.rfind('/')?];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RouteSpec;
    use base::RouteId;
    use proptest::prelude::*;

    fn route(host: &str, path: &str) -> Arc<Route> {
        let spec: RouteSpec =
            serde_json::from_value(serde_json::json!({ "host": host, "path": path, "service": "web" }))
                .unwrap();
        Arc::new(Route::compile(RouteId::from_uuid_bytes([0; 16]), &spec).unwrap())
    }

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        RouteTable::new(routes.iter().map(|(host, path)| route(host, path)))
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> Option<String> {
        table.find(host, path, path).unwrap().map(|route| route.label.to_string())
    }

    #[test]
    fn the_nearest_host_and_the_longest_path_win() {
        let table = table(&[
            ("*", "/"),
            ("*.localhost", "/"),
            ("*.localhost", "/api"),
            ("*.localhost", "/api/v1/users/"),
            ("acme.localhost", "/only"),
            ("*.eu.localhost", "/"),
        ]);
        for (host, path, expected) in [
            ("acme.localhost", "/only/x", Some("acme.localhost/only")),
            ("acme.localhost", "/onlyx", Some("*.localhost/")),
            ("acme.localhost", "/api", Some("*.localhost/api")),
            ("acme.localhost", "/api/", Some("*.localhost/api")),
            ("acme.localhost", "/apis", Some("*.localhost/")),
            ("acme.localhost", "/api/v1/users", Some("*.localhost/api/v1/users/")),
            ("acme.localhost", "/api/v1/users/7/8/9", Some("*.localhost/api/v1/users/")),
            ("acme.localhost", "/api/v1/usersX/7", Some("*.localhost/api")),
            ("a.eu.localhost", "/x", Some("*.eu.localhost/")),
            ("localhost", "/", Some("*/")),
            ("other", "/x/y/z", Some("*/")),
        ] {
            assert_eq!(found(&table, host, path).as_deref(), expected, "{host}{path}");
        }
        assert_eq!(found(&RouteTable::new([route("a", "/x")]), "a", "/"), None);
    }

    #[test]
    fn a_path_that_two_readers_may_take_differently_is_refused() {
        let table = table(&[("*", "/"), ("*", "/admin")]);
        assert_eq!(table.find("a", "/admin/x", "/%61dmin/x"), Err(Ambiguous));
        assert_eq!(table.find("a", "/admin", "//admin"), Err(Ambiguous));
        assert!(table.find("a", "/x y", "/x%20y").unwrap().is_some());
        assert!(table.find("a", "/admin/x y", "/admin/x%20y").unwrap().is_some());
    }

    proptest! {
        #[test]
        fn finding_agrees_with_looking_at_all(
            prefixes in prop::collection::btree_set("(/[ab]{1,2}){0,3}", 0..12),
            path in "(/[abé]{0,3}){1,5}",
        ) {
            let routes: Vec<_> = prefixes.iter().map(|prefix| {
                let mut route = Route::clone(&route("*", "/"));
                route.prefix = prefix.as_str().into();
                Arc::new(route)
            }).collect();
            let table = RouteTable::new(routes.clone());
            let trimmed = path.strip_suffix('/').unwrap_or(&path);
            let matches = |prefix: &str| trimmed.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let expected = prefixes.iter().filter(|prefix| matches(prefix)).max_by_key(|prefix| prefix.len());
            let found = table.find("a", &path, &path).unwrap().map(|route| route.prefix.to_string());
            prop_assert_eq!(found.as_ref(), expected);
        }
    }
}
