/** A handful, for CI. */
export const QUICK: readonly string[] = [
  'test/pgbouncer',
  'test/e2e/first-message.spec',
  'test/e2e/session.spec',
  'test/e2e/statement-log.spec',
  'test/e2e/transaction-options.spec',
];

interface Exception {
  readonly reason: string;
}

/** Files that are left out. See `docs/connections-pgbouncer.md`. */
export const EXCLUDED: readonly (Exception & { readonly file: string })[] = [
  {
    file: 'test/e2e/faults.spec',
    reason:
      'PgBouncer 1.18 ends itself when clients go away as they are cancelled: "FATAL @src/objects.c:1060 in ' +
      'function disconnect_client(): bad client state: 0". Where it does not, all but the client-side ' +
      'query timeout pass.',
  },
  {
    file: 'test/e2e/process-shutdown.spec',
    reason: 'Counts connections on the server, which are those of PgBouncer and stay.',
  },
  {
    file: 'test/e2e/reset-',
    reason: 'A reset needs the backend that a request has used, and here it gets any that is free.',
  },
];

/** Tests that are left out, by a part of their full name. */
export const EXCEPTIONS: readonly (Exception & { readonly test: string })[] = [
  {
    test: 'F3: a cancel request that is late hits no statement of another request',
    reason: 'The test itself holds advisory locks of a session, which is no thing to do here.',
  },
  {
    test: 'secrets of a check',
    reason: 'PgBouncer asks nobody for a password here.',
  },
];
