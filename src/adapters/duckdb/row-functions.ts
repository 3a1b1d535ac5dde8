/**
 * Functions that the SQL of a definition may call: each value depends on its row alone, today and next year. A list of what
 * is allowed, because DuckDB's own catalogue calls some clock-bound functions consistent, and grows with each release.
 */
const BY_FAMILY = {
  operators: '+ - * / // % ** ^ || & | ~ << >> xor ! !~~ !~~* ~~ ~~* ~~~ ^@ add subtract multiply divide mod',
  numbers:
    'abs acos acosh asin asinh atan atan2 atanh cbrt ceil ceiling cos cosh cot degrees even exp factorial floor fdiv fmod gamma gcd ' +
    'greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma ln log log10 log2 nextafter pi pow power ' +
    'radians round round_even roundbankers sign signbit sin sinh sqrt tan tanh trunc bit_count',
  nulls: 'ifnull nullif constant_or_null',
  texts:
    'ascii bar chr char_length character_length concat concat_ws contains damerau_levenshtein editdist3 ends_with format hamming hex ' +
    'instr jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme levenshtein like_escape ' +
    'ilike_escape not_like_escape not_ilike_escape lower lpad ltrim md5 mismatches nfc_normalize ord position prefix printf ' +
    'regexp_escape regexp_extract regexp_full_match regexp_matches regexp_replace repeat replace reverse right right_grapheme rpad rtrim ' +
    'sha1 sha256 split_part starts_with strip_accents strlen strpos substr substring substring_grapheme suffix to_base translate trim ' +
    'ucase unicode upper url_decode url_encode',
  times:
    'century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek ' +
    'dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day make_date make_time ' +
    'make_timestamp make_timestamp_ms microsecond millennium millisecond minute month monthname nanosecond quarter second strftime ' +
    'strptime try_strptime time_bucket timezone to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds ' +
    'to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years week weekday weekofyear year yearweek',
} as const;

const ROW_FUNCTIONS: ReadonlySet<string> = new Set(Object.values(BY_FAMILY).flatMap((names) => names.split(' ')));

export const isRowFunction = (name: string): boolean => ROW_FUNCTIONS.has(name.toLowerCase());

/** Words that SQL reads as a call without brackets: the clock, the session, the place of a row. */
const PSEUDO_COLUMNS: ReadonlySet<string> = new Set([
  'current_date',
  'current_time',
  'current_timestamp',
  'localtime',
  'localtimestamp',
  'current_user',
  'session_user',
  'user',
  'current_role',
  'current_catalog',
  'current_schema',
  'current_database',
  'rowid',
]);
export const isPseudoColumn = (name: string): boolean => PSEUDO_COLUMNS.has(name.toLowerCase());
