//! All arities of handlers, 0 to 16 arguments.

/// Calls `$name!([T1, .., Tn])` for every n from 0 to 16.
macro_rules! all_tuples {
    ($name:ident) => {
        $name!([]);
        $name!([T1]);
        $name!([T1, T2]);
        $name!([T1, T2, T3]);
        $name!([T1, T2, T3, T4]);
        $name!([T1, T2, T3, T4, T5]);
        $name!([T1, T2, T3, T4, T5, T6]);
        $name!([T1, T2, T3, T4, T5, T6, T7]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14, T15]);
        $name!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14, T15, T16]);
    };
}

/// Runs an extractor; when it answers an error, logs it and does `$otherwise`.
macro_rules! extract {
    ($extracted:expr, $otherwise:expr) => {
        match $extracted {
            Ok(value) => value,
            Err(error) => {
                trace::debug!(target: "watertight", "an extractor refused: {error}");
                #[allow(clippy::unused_unit)]
                return $otherwise(error);
            }
        }
    };
}

pub(crate) use {all_tuples, extract};
