import type { Step } from '../../starter/walkthrough.js';

const ADA = { 'x-account-key': 'ada-key' };

/** What to try; `test/separate.spec.ts` tries it. */
export const STEPS: readonly Step[] = [
  {
    path: '/accounts',
    status: 200,
    expect: 'the accounts. Remember the balance of account 1',
  },
  {
    method: 'POST',
    path: '/transfers',
    headers: ADA,
    body: { to: 2, amountCents: 250 },
    status: 201,
    expect: 'sent. The transfer is in one database and its audit entry in the other',
  },
  {
    method: 'POST',
    path: '/transfers',
    headers: ADA,
    body: { to: 2, amountCents: 99_999_99 },
    status: 422,
    expect:
      'too little money. The debit and the transfer were in the database already: rolled back',
  },
  {
    path: '/accounts/1/statement',
    headers: ADA,
    status: 200,
    expect: 'the balance is down by 250 only. There is one transfer more and none of 9999999',
  },
  {
    method: 'POST',
    path: '/sessions',
    body: { accountId: 1, pin: '0000' },
    status: 401,
    expect: 'a wrong PIN, and its trace is committed all the same. The next two lines show it',
  },
  {
    path: '/accounts/1',
    status: 200,
    expect: 'failedLogins is up by 1',
  },
  {
    path: '/audit',
    status: 200,
    expect: 'login.failed on top, then one transfer.sent of 250, and nothing of the 422',
  },
  {
    path: '/health',
    status: 200,
    expect: 'nothing is sent to a database',
  },
];
