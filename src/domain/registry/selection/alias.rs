//! Aliases: a service that shows the instances of another one. One step only: an alias of an alias
//! shows nothing.

use std::sync::Arc;

use crate::{
    domain::{
        error::Error,
        keyspace::{Keyspace, ServiceKey},
        names::Namespace,
        state::State,
    },
    store::{Compare, Revision},
};

use crate::domain::registry::{Export, ServiceSettings};

/// Whose instances a service shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// Its own.
    #[default]
    Own,
    /// Those of another one.
    To(ServiceKey),
    /// None: the other one is an alias too, or is not exported to its namespace.
    Broken(ServiceKey),
}

// === impl Route ===

impl Route {
    /// Where settings lead, given those of the service that they name.
    pub fn of(settings: Option<&ServiceSettings>, state: &State) -> Self {
        let Some((alias, target)) = settings.and_then(|s| Some((s, s.alias_of.clone()?))) else {
            return Self::Own;
        };
        let of_target = settings_of(state, &target).map(Arc::as_ref);
        let is_alias = of_target.is_some_and(|settings| settings.alias_of.is_some());
        if is_alias || !shows(&alias.key.namespace, &target, of_target) {
            return Self::Broken(target);
        }
        Self::To(target)
    }
}

/// Makes sure that an alias leads somewhere.
///
/// Errors: [`Error::AliasChain`], [`Error::NotExported`].
pub(in crate::domain::registry) fn check(
    alias: &ServiceSettings,
    state: &State,
) -> Result<(), Error> {
    let Some(target) = &alias.alias_of else {
        return Ok(());
    };
    let path = alias.key.path();
    if state.aliases.contains_key(path.as_bytes()) {
        return Err(Error::AliasChain { name: path });
    }
    let of_target = settings_of(state, target).map(Arc::as_ref);
    if of_target.is_some_and(|settings| settings.alias_of.is_some()) {
        return Err(Error::AliasChain {
            name: target.path(),
        });
    }
    if !shows(&alias.key.namespace, target, of_target) {
        return Err(Error::NotExported {
            name: target.path(),
            namespace: alias.key.namespace.to_string(),
        });
    }
    Ok(())
}

/// The condition that nothing was set for any service since [`check`] judged an alias by a view of
/// `revision`. Less would do for what it leads to, but not for those that lead to it.
pub(in crate::domain::registry) fn nothing_set_since(
    revision: Revision,
    alias: &ServiceSettings,
    keys: &Keyspace,
) -> Option<Compare> {
    alias.alias_of.as_ref()?;
    Some(Compare::none_newer(keys.services(), revision))
}

/// Whether services of `namespace` may show the instances of `target`.
fn shows(namespace: &Namespace, target: &ServiceKey, settings: Option<&ServiceSettings>) -> bool {
    let exported = || match settings.map(|settings| &settings.exported_to) {
        None => false,
        Some(Export::ToAll) => true,
        Some(Export::To(namespaces)) => namespaces.contains(namespace),
    };
    *namespace == target.namespace || exported()
}

fn settings_of<'a>(state: &'a State, key: &ServiceKey) -> Option<&'a Arc<ServiceSettings>> {
    state.settings.get(key.path().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> ServiceKey {
        ServiceKey::parse(path).unwrap()
    }

    fn alias(path: &str, target: &str) -> ServiceSettings {
        ServiceSettings {
            alias_of: Some(key(target)),
            ..ServiceSettings::unset(key(path))
        }
    }

    fn state(settings: impl IntoIterator<Item = ServiceSettings>) -> State {
        let mut state = State::default();
        for settings in settings {
            let path = settings.key.path();
            state.settings.insert(path.into(), Arc::new(settings));
        }
        state
    }

    #[test]
    fn an_alias_leads_one_step_and_into_other_namespaces_only_where_it_may() {
        let route =
            |alias: &ServiceSettings, others: Vec<_>| Route::of(Some(alias), &state(others));
        let own = ServiceSettings::unset(key("a/web"));
        assert_eq!(route(&own, vec![]), Route::Own);
        assert_eq!(Route::of(None, &state([])), Route::Own);
        let near = alias("a/web", "a/blue");
        assert_eq!(route(&near, vec![]), Route::To(key("a/blue")));
        let chain = alias("a/blue", "a/green");
        assert_eq!(route(&near, vec![chain]), Route::Broken(key("a/blue")));
        let far = alias("a/web", "b/web");
        let exported = |exported_to| ServiceSettings {
            exported_to,
            ..ServiceSettings::unset(key("b/web"))
        };
        let to = |name| Export::To([Namespace::parse(name).unwrap()].into());
        let broken = Route::Broken(key("b/web"));
        assert_eq!(route(&far, vec![]), broken);
        assert_eq!(route(&far, vec![exported(to("c"))]), broken);
        let there = Route::To(key("b/web"));
        assert_eq!(route(&far, vec![exported(to("a"))]), there);
        assert_eq!(route(&far, vec![exported(Export::ToAll)]), there);
    }
}
