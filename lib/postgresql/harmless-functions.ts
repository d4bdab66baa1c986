/**
 * Functions, and words that stand before a parenthesis, which neither write nor lock. Any other name
 * is taken for a function that may do either.
 */
export const HARMLESS = new Set(
  (
    'all and any array as between by case cast distinct else except exists extract filter from ' +
    'having ilike in inner intersect is join lateral left like limit not null offset on or over ' +
    'partition right select some then union using values when where with within ' +
    'abs age array_agg avg bit_and bit_or bool_and bool_or ceil ceiling char_length character_length ' +
    'coalesce concat concat_ws count current_setting date_part date_trunc dense_rank every first_value floor ' +
    'format generate_series greatest initcap json_agg json_array_elements json_array_length json_build_array ' +
    'json_build_object json_object_agg json_typeof jsonb_agg jsonb_array_elements ' +
    'jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object ' +
    'jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_typeof lag last_value lead ' +
    'least left length lower lpad ltrim make_date max md5 min mod now ntile nullif octet_length ' +
    'percentile_cont percentile_disc plainto_tsquery position power rank regexp_match ' +
    'regexp_replace repeat replace reverse right round row row_number row_to_json rpad rtrim sign ' +
    'similarity split_part sqrt starts_with stddev string_agg strpos substr substring sum to_char ' +
    'to_date to_json to_jsonb to_number to_tsquery to_tsvector translate trim trunc ts_rank ' +
    'unnest upper variance websearch_to_tsquery width_bucket ' +
    'bit char character decimal float numeric time timestamp timestamptz varbit varchar varying'
  ).split(' '),
);
