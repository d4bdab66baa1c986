import type { HoldListener } from '../../lib/transport/response-hold.js';

/** Holds each response, for work that is never asked for. */
export const HOLDING: HoldListener = {
  hasWork: true,
  begins: () => true,
  isSender: () => false,
  cameLate: () => undefined,
};
