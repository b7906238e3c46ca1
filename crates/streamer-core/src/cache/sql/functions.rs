//! Functions whose result depends on their arguments alone (and on the session's fixed settings).

/// Lower case, sorted: searched by bisection.
const DETERMINISTIC: &[&str] = &[
    "abs", "acos", "adddate", "addtime", "any_value", "ascii", "asin", "atan", "atan2", "avg", "bin", "bit_and", "bit_count",
    "bit_length", "bit_or", "bit_xor", "ceil", "ceiling", "char", "char_length", "character_length", "coalesce",
    "concat", "concat_ws", "conv", "cos", "cot", "count", "crc32", "cume_dist", "date", "date_add", "date_format", "date_sub",
    "datediff", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "degrees", "dense_rank", "elt", "exp", "export_set",
    "field", "find_in_set", "first_value", "floor", "format", "from_base64", "from_days", "from_unixtime", "greatest",
    "group_concat", "grouping", "hex", "hour", "if", "ifnull", "inet6_aton", "inet6_ntoa", "inet_aton", "inet_ntoa", "insert",
    "instr", "interval", "isnull", "json_array", "json_arrayagg", "json_contains", "json_contains_path", "json_depth",
    "json_extract", "json_keys", "json_length", "json_object", "json_objectagg", "json_overlaps", "json_quote", "json_search",
    "json_type", "json_unquote", "json_valid", "json_value", "lag", "last_day", "last_value", "lcase", "lead", "least", "left",
    "length", "ln", "locate", "log", "log10", "log2", "lower", "lpad", "ltrim", "makedate", "maketime", "max", "md5",
    "microsecond", "mid", "min", "minute", "mod", "month", "monthname", "nth_value", "ntile", "nullif", "oct", "octet_length", "ord",
    "percent_rank", "period_add", "period_diff", "pi", "position", "pow", "power", "quarter", "quote", "radians", "rank",
    "regexp_instr", "regexp_like", "regexp_replace", "regexp_substr", "repeat", "replace", "reverse", "right", "round",
    "row_number", "rpad", "rtrim", "sec_to_time", "second", "sha", "sha1", "sha2", "sign", "sin", "soundex", "space", "sqrt", "std",
    "stddev", "stddev_pop", "stddev_samp", "str_to_date", "strcmp", "subdate", "substr", "substring", "substring_index",
    "subtime", "sum", "tan", "time", "time_format", "time_to_sec", "timediff", "timestamp", "timestampadd", "timestampdiff",
    "to_base64", "to_days", "to_seconds", "trim", "truncate", "ucase", "unhex", "upper", "var_pop", "var_samp", "variance",
    "week", "weekday", "weekofyear", "year", "yearweek",
];

/// Words that are calls without parentheses.
const NILADIC: &[&str] = &[
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "sysdate",
    "utc_date",
    "utc_time",
    "utc_timestamp",
];

/// Whether a function, lower case, may stand in what is cached.
pub(super) fn is_deterministic(name: &str) -> bool {
    DETERMINISTIC.binary_search(&name).is_ok()
}

/// Whether a bare word, lower case, is a call.
pub(super) fn is_niladic(name: &str) -> bool {
    NILADIC.contains(&name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted_so_that_it_can_be_bisected() {
        assert!(super::DETERMINISTIC.is_sorted());
    }
}
