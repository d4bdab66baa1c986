/** How often each fault is to happen. */
export const TIMES = Number(process.env['DB_CONTEXT_FAULT_TIMES'] ?? 3);

/** Whether variants of one fault are run as well; `npm test` has no time for them. */
export const IS_FULL = TIMES >= 20;
