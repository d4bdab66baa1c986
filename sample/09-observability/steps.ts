import type { Step } from '../starter/walkthrough.js';

const body = { item: 'pen', card: '4111 1111 1111 1111' };

/** What to try, and what the spans of it show. */
export const STEPS: readonly Step[] = [
  {
    method: 'POST',
    path: '/orders',
    body,
    status: 201,
    expect:
      'a transaction below the request, BEGIN with the INSERT in one message; the card is a question mark',
  },
  { path: '/orders', status: 200, expect: 'a read: BEGIN with the SELECT, and COMMIT' },
  {
    method: 'POST',
    path: '/orders/refused',
    body,
    status: 409,
    expect: 'rolled back, as its own code decided; before that, a savepoint was undone',
  },
  {
    method: 'POST',
    path: '/orders/more',
    status: 200,
    expect: 'two attempts side by side, the first one rolled back for 40001, and what it met; 11',
  },
  { path: '/metrics', status: 200, expect: 'the same in numbers, for Prometheus' },
];
