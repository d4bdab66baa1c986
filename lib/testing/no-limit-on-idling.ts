/**
 * Lets the transaction of a test idle for as long as the test takes, whatever the database, the role or the
 * options of the connection say of that: in production none idles while the code between two requests runs.
 * `transaction_timeout` is known since PostgreSQL 17.
 *
 * It is no SET, whose tag does not say that it is LOCAL: `resetOnRelease` would take it for a setting of the
 * session, and send a DISCARD ALL after each test.
 */
export const NO_LIMIT_ON_IDLING =
  "select pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true), " +
  "case when pg_catalog.current_setting('transaction_timeout', true) is not null " +
  "then pg_catalog.set_config('transaction_timeout', '0', true) end";
