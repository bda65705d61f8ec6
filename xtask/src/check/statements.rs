//! Rules over SQL: every statement of a tenant table names its tenant, tables are declared, texts are portable.
//!
//! Statements are the string literals inside `Sql::One(…)` and `Sql::Split { … }`; tables are read from the
//! migrations. `db` refuses such statements at run time too; this finds them before they run. It reads SQL by
//! words, which is enough for the portable SQL that capabilities write.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::Finding;
use super::sources::Source;
use crate::workspace::Workspace;

/// A statement that runs over the rows of all tenants says so in the comment of its `const`, or of the `mod` around, with the reason.
const CROSSING: &str = "crosses tenants";
/// At most this share of statements may differ between the two databases.
const SPLIT_PERCENT_MAX: usize = 8;

/// A statement with where it stands.
struct Statement {
    place: String,
    /// The name of the `const` or function around it.
    name: String,
    /// Whether the comment there says that it crosses tenants.
    crosses: bool,
    is_split: bool,
    text: String,
}

/// A table made by a migration.
struct Table {
    place: String,
    has_tenant: bool,
}

pub(super) fn check(workspace: &Workspace, sources: &[Source]) -> Result<Vec<Finding>, String> {
    // Tests write what they like.
    let product: Vec<&Source> = sources.iter().filter(|source| !source.is_test).collect();
    let statements: Vec<Statement> = product.iter().flat_map(|source| statements_of(source)).collect();
    let tables = tables(workspace, &product)?;
    let mut findings: Vec<Finding> =
        statements.iter().filter_map(|statement| check_statement(statement, &tables)).collect();
    findings.extend(check_declared(sources, &tables));
    findings.extend(check_splits(&statements));
    Ok(findings)
}

fn check_statement(statement: &Statement, tables: &BTreeMap<String, Table>) -> Option<Finding> {
    let words = words(&statement.text);
    if words.iter().any(|word| word == "now" || word == "current_timestamp" || word == "random") {
        let message =
            format!("{}: time and randomness are passed in, not made by the database", statement.name);
        return Some(Finding::new(&statement.place, message));
    }
    let named: Vec<&str> = tables_named(&words)
        .into_iter()
        .filter(|word| tables.get(*word).is_some_and(|table| table.has_tenant))
        .collect();
    if statement.crosses || named.len() <= tenants_bound(&words) {
        return None;
    }
    let message = format!(
        "{}: a statement over {} binds its tenant {} of {} times; add `tenant = $1` for each table, or, where it \
         serves a SystemTx on purpose, say \"{CROSSING}: <why>\" in its comment",
        statement.name,
        named.join(", "),
        tenants_bound(&words),
        named.len()
    );
    Some(Finding::new(&statement.place, message))
}

/// The names after FROM, JOIN, UPDATE and INTO.
fn tables_named(words: &[String]) -> Vec<&str> {
    let mut named = Vec::new();
    for (index, word) in words.iter().enumerate() {
        // `ON CONFLICT … DO UPDATE SET` and `FOR UPDATE` name no table.
        let leads = matches!(word.as_str(), "from" | "join" | "into" | "update");
        let Some(next) = words.get(index + 1).filter(|next| leads && *next != "set") else { continue };
        named.push(next.as_str());
    }
    named
}

/// How many tables have their tenant bound: `tenant = $1`, `a.tenant = b.tenant`, and insertions whose first
/// column is the tenant and whose first value is `$1` (or selected).
fn tenants_bound(words: &[String]) -> usize {
    let is_tenant = |word: &str| word == "tenant" || word.ends_with(".tenant");
    let conditions = words
        .windows(3)
        .filter(|window| {
            is_tenant(&window[0]) && window[1] == "=" && (window[2] == "$1" || is_tenant(&window[2]))
        })
        .count();
    let insertions = words
        .windows(4)
        .enumerate()
        .filter(|(_, window)| window[0] == "into" && window[2] == "(" && window[3] == "tenant")
        .filter(|(index, _)| {
            let rest = &words[*index..];
            let values = rest.iter().position(|word| word == "values" || word == "select");
            values.is_some_and(|at| {
                rest[at + 1..].iter().find(|word| *word != "(").is_some_and(|word| word == "$1")
            })
        })
        .count();
    conditions + insertions
}

/// Every table with rows of tenants is declared as one, and every other table with its reason.
fn check_declared(sources: &[Source], tables: &BTreeMap<String, Table>) -> Vec<Finding> {
    let mut declared = Declared::default();
    sources.iter().for_each(|source| declared.visit_file(&source.syntax));
    let undeclared = tables.iter().filter_map(|(name, table)| {
        let (list, field) = if table.has_tenant {
            (&declared.tenant, "tenant_tables")
        } else {
            (&declared.system, "system_tables")
        };
        (!list.contains(name)).then(|| {
            Finding::new(&table.place, format!("table {name} is missing in its MigrationSet's {field}"))
        })
    });
    undeclared.collect()
}

fn check_splits(statements: &[Statement]) -> Option<Finding> {
    let splits: Vec<&Statement> = statements.iter().filter(|statement| statement.is_split).collect();
    // Both texts of a split are in the list.
    let (split, all) = (splits.len() / 2, statements.len() - splits.len() / 2);
    let place = splits.first().map(|statement| statement.place.clone())?;
    (split * 100 > all * SPLIT_PERCENT_MAX).then(|| {
        Finding::new(
            place,
            format!("{split} of {all} statements are split; at most {SPLIT_PERCENT_MAX} % may be"),
        )
    })
}

/// The tables of all migrations: of `.sql` files, and of `sql:` fields in Rust.
fn tables(workspace: &Workspace, sources: &[&Source]) -> Result<BTreeMap<String, Table>, String> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for file in workspace.files.iter().filter(|file| file.contains("/migrations/") && file.ends_with(".sql"))
    {
        texts.push((file.clone(), workspace.read(file)?));
    }
    for source in sources {
        let mut migrations = Migrations::default();
        migrations.visit_file(&source.syntax);
        texts.extend(migrations.0.into_iter().map(|text| (source.file.clone(), text)));
    }
    let mut tables = BTreeMap::new();
    for (place, text) in texts {
        let words = words(&text);
        for at in (0..words.len())
            .filter(|&at| words[at] == "create" && words.get(at + 1).is_some_and(|word| word == "table"))
        {
            let open = words[at..].iter().position(|word| word == "(").map_or(words.len(), |open| at + open);
            let end = words[open..].iter().position(|word| word == ";").map_or(words.len(), |end| open + end);
            let Some(name) = words.get(open.wrapping_sub(1)) else { continue };
            let has_tenant = words
                .get(open + 1..end)
                .is_some_and(|body| body.first().is_some_and(|word| word == "tenant"));
            tables.insert(name.clone(), Table { place: place.clone(), has_tenant });
        }
    }
    Ok(tables)
}

/// Lower-case words and signs of a statement; quoted texts and comments are left out.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let without_comments =
        text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut letters = without_comments.chars();
    while let Some(letter) = letters.next() {
        if letter.is_alphanumeric() || matches!(letter, '_' | '.' | '$') {
            word.extend(letter.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter == '\'' {
            letters.by_ref().find(|letter| *letter == '\'');
        } else if !letter.is_whitespace() && letter != '"' {
            words.push(letter.to_string());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn statements_of(source: &Source) -> Vec<Statement> {
    let mut visitor = Statements { file: &source.file, around: Vec::new(), found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

struct Statements<'a> {
    file: &'a str,
    /// Name and "crosses tenants" of the items around, innermost last.
    around: Vec<(String, bool)>,
    found: Vec<Statement>,
}

impl Statements<'_> {
    fn push(&mut self, text: &syn::Expr, is_split: bool) {
        let Some((line, text)) = literal(text) else { return };
        let name = self.around.last().map(|(name, _)| name.clone()).unwrap_or_default();
        let crosses = self.around.iter().any(|(_, crosses)| *crosses);
        let place = format!("{}:{line}", self.file);
        self.found.push(Statement { place, name, crosses, is_split, text });
    }

    fn inside(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let crosses = attributes.iter().any(says_crossing);
        self.around.push((name.to_string(), crosses));
        visit(self);
        self.around.pop();
    }
}

impl<'ast> Visit<'ast> for Statements<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            self.inside(&item.ident, &item.attrs, |visitor| visit::visit_item_mod(visitor, item));
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.inside(&item.ident, &item.attrs, |visitor| visit::visit_item_const(visitor, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(&item.ident, &item.attrs, |visitor| visit::visit_item_static(visitor, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.inside(&item.sig.ident, &item.attrs, |visitor| visit::visit_item_fn(visitor, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside(&item.sig.ident, &item.attrs, |visitor| visit::visit_impl_item_fn(visitor, item));
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let (syn::Expr::Path(path), Some(text)) = (&*call.func, call.args.first())
            && ends_with(&path.path, &["Sql", "One"])
        {
            self.push(text, false);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        if ends_with(&literal.path, &["Sql", "Split"]) {
            literal.fields.iter().for_each(|field| self.push(&field.expr, true));
        }
        visit::visit_expr_struct(self, literal);
    }
}

/// The texts of `sql: "…"` fields of `Migration { … }`.
#[derive(Default)]
struct Migrations(Vec<String>);

impl<'ast> Visit<'ast> for Migrations {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_struct(&mut self, value: &'ast syn::ExprStruct) {
        if ends_with(&value.path, &["Migration"]) {
            self.0.extend(value.fields.iter().filter_map(|field| literal(&field.expr)).map(|(_, text)| text));
        }
        visit::visit_expr_struct(self, value);
    }
}

/// The string literals in `tenant_tables` and `system_tables`, as a field or as a `const` of that name.
#[derive(Default)]
struct Declared {
    tenant: Vec<String>,
    system: Vec<String>,
}

impl Declared {
    fn collect(&mut self, name: &str, value: &syn::Expr) {
        let mut literals = Literals::default();
        literals.visit_expr(value);
        match name.to_lowercase().as_str() {
            "tenant_tables" => self.tenant.extend(literals.0),
            "system_tables" => self.system.extend(literals.0),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if let syn::Member::Named(name) = &field.member {
            self.collect(&name.to_string(), &field.expr);
        }
        visit::visit_field_value(self, field);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.collect(&item.ident.to_string(), &item.expr);
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.collect(&item.ident.to_string(), &item.expr);
        visit::visit_item_static(self, item);
    }
}

#[derive(Default)]
struct Literals(Vec<String>);

impl<'ast> Visit<'ast> for Literals {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.0.push(literal.value());
    }
}

/// The text of a string literal or of `concat!("…", "…")`, with its line.
fn literal(expression: &syn::Expr) -> Option<(usize, String)> {
    match expression {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
            Some((text.span().start().line, text.value()))
        }
        syn::Expr::Macro(call) if call.mac.path.is_ident("concat") => {
            let parts = call
                .mac
                .parse_body_with(syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated)
                .ok()?;
            let texts: Vec<(usize, String)> = parts.iter().filter_map(literal).collect();
            Some((texts.first()?.0, texts.into_iter().map(|(_, text)| text).collect()))
        }
        syn::Expr::Reference(reference) => literal(&reference.expr),
        _ => None,
    }
}

fn ends_with(path: &syn::Path, end: &[&str]) -> bool {
    let count = path.segments.len();
    count >= end.len()
        && path.segments.iter().skip(count - end.len()).zip(end).all(|(segment, word)| segment.ident == word)
}

fn says_crossing(attribute: &syn::Attribute) -> bool {
    let syn::Meta::NameValue(syn::MetaNameValue { path, value: syn::Expr::Lit(text), .. }) = &attribute.meta
    else {
        return false;
    };
    let syn::Lit::Str(text) = &text.lit else { return false };
    path.is_ident("doc") && text.value().to_lowercase().contains(CROSSING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &str) -> bool {
        let table = |has_tenant| Table { place: String::new(), has_tenant };
        let tables = BTreeMap::from([("keys".to_owned(), table(true)), ("plans".to_owned(), table(false))]);
        let (place, name) = (String::new(), "Q".to_owned());
        let statement = Statement { place, name, crosses: false, is_split: false, text: text.to_owned() };
        check_statement(&statement, &tables).is_some()
    }

    #[test]
    fn statements_without_their_tenant_are_refused() {
        for text in [
            "SELECT a FROM keys WHERE id = $1",
            "SELECT a FROM keys WHERE id = $2 AND name = 'tenant = $1'",
            "SELECT a FROM keys k JOIN keys l ON k.id = l.id WHERE k.tenant = $1",
            "SELECT a FROM plans WHERE a IN (SELECT id FROM keys)",
            "INSERT INTO keys (id, tenant) VALUES ($1, $2)",
            "INSERT INTO keys (tenant, id) VALUES ($2, $1)",
            "UPDATE keys SET a = 1 WHERE id = $2",
            "DELETE FROM keys",
            "UPDATE plans SET at = now()",
        ] {
            assert!(is_refused(text), "{text}");
        }
        for text in [
            "SELECT a FROM keys WHERE tenant = $1 AND id = $2",
            "SELECT a FROM keys k JOIN keys l ON k.id = l.id AND k.tenant = l.tenant WHERE k.tenant=$1",
            "INSERT INTO keys (tenant, id) VALUES ($1, $2) ON CONFLICT (tenant, id) DO UPDATE SET a = 2",
            "INSERT INTO keys (tenant, id) SELECT $1, name FROM plans",
            "UPDATE keys SET a = 1 WHERE tenant = $1",
            "SELECT a FROM plans",
        ] {
            assert!(!is_refused(text), "{text}");
        }
    }
}
