//! What requests of a kind have alike, whatever they are about. Macros, because the generated types
//! share names of fields and nothing else.

/// What a request asks to set that sets everything for something: all such requests have the same
/// fields besides `settings`, which are what was parsed of the rest.
macro_rules! put {
    ($fields:ident, $request:ident, $caller:expr, $settings:expr) => {{
        let expected_revision = $fields.expected_revision($request.expected_revision, 0);
        let request_id = $fields.request_id(&$request.request_id);
        let guard = $fields.guard($request.guard, &$request.namespace);
        let actor = $fields.label("actor", &$request.actor);
        $crate::domain::put::Put {
            settings: $fields.give($settings)?,
            expected_revision,
            request_id,
            guard,
            actor,
            caller: $caller,
            validate_only: $request.validate_only,
        }
    }};
}
pub(in crate::rpc) use put;

/// What a request asks to take back that was set like that; `key` is what was parsed of the rest.
macro_rules! delete {
    ($fields:ident, $request:ident, $caller:expr, $key:expr) => {{
        let expected_revision = $fields.expected_revision($request.expected_revision, 1);
        let guard = $fields.guard($request.guard, &$request.namespace);
        let actor = $fields.label("actor", &$request.actor);
        $crate::domain::put::Delete {
            key: $fields.give($key)?,
            expected_revision,
            guard,
            actor,
            caller: $caller,
        }
    }};
}
pub(in crate::rpc) use delete;

/// How long a request may wait in a queue, of which all such requests say the same. `wire` is a
/// `Wait` of the module `request`.
macro_rules! wait {
    ($fields:ident, $wire:expr, $request:ident) => {{
        use $crate::domain::lock::Wait;
        match $wire {
            None | Some($request::Wait::NoWait(false)) => Wait::Forever,
            Some($request::Wait::NoWait(true)) => Wait::No,
            Some($request::Wait::WaitTimeout(timeout)) => $fields
                .duration("wait_timeout", Some(timeout))
                .map_or(Wait::No, Wait::For),
        }
    }};
}
pub(in crate::rpc) use wait;
