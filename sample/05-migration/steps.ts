import type { Step } from '../starter/walkthrough.js';

/** What to try; `test/separate.spec.ts` tries it on all stages. */
export const STEPS: readonly Step[] = [
  {
    path: '/rooms',
    body: { name: 'Attic' },
    status: 201,
    expect: 'the id of the room: here, too, it is known before the commit',
    method: 'POST',
  },
  {
    path: '/rooms/Attic/bookings',
    body: { day: '2027-05-01', guest: 'Ada' },
    status: 201,
    expect: 'a booking and its line of the audit trail: two transactions before, one after',
    method: 'POST',
  },
  {
    path: '/rooms/Attic/bookings',
    body: { day: '2027-05-01', guest: 'Grace' },
    status: 409,
    expect: 'a constraint that a flush has met, and that the handler answers',
    method: 'POST',
  },
  {
    path: '/rooms/Attic/days',
    body: { days: ['2027-04-30', '2027-05-01', '2027-05-02'], guest: 'Grace' },
    status: 201,
    expect: 'the two days that were free: em.transactional() undoes the one that was taken',
    method: 'POST',
  },
  { path: '/rooms/Attic/bookings', status: 200, expect: 'three bookings' },
  { path: '/audit', status: 200, expect: 'three lines' },
];
