import * as fc from 'fast-check';

export const MOUNTS = ['middleware', 'interceptor'] as const;
export type Mount = (typeof MOUNTS)[number];

/** What a handler does in the end. */
const HANDLER_ENDS = [
  'return',
  'throw',
  'status 409',
  'observable',
  'observable fails',
  'stream',
  'cannot be serialized',
  'res.send',
  'res.send 409',
  'res.send, throw',
  'res.send, write',
] as const;

/** What a middleware, a guard or a filter does in the end. */
const EARLY_ENDS = ['go on', 'answer', 'answer 409', 'answer in pieces', 'throw'] as const;

export type HandlerEnd = (typeof HANDLER_ENDS)[number];
export type EarlyEnd = (typeof EARLY_ENDS)[number];

/** What one piece of code on the way of a request does. */
export interface Step<End> {
  readonly writes: boolean;
  readonly end: End;
}

/** A request, as the application gets it in a header. */
export interface EntryRequest {
  readonly middleware: Step<EarlyEnd>;
  readonly guard: Step<EarlyEnd>;
  /** Whether a filter answers what a middleware or a guard threw with a success. */
  readonly isForgiving: boolean;
  readonly handler: Step<HandlerEnd>;
  readonly commitFails: boolean;
  /** Where the client leaves. */
  readonly leaves: 'guard' | 'handler' | undefined;
}

/** Requests to an application whose contexts are opened by `mount`. */
export function requests(mount: Mount): fc.Arbitrary<EntryRequest> {
  const isEarly = mount === 'middleware';
  // Without a context a middleware and a guard cannot write.
  const early = fc.record({
    writes: isEarly ? fc.boolean() : fc.constant(false),
    end: rarely<EarlyEnd>('go on', fc.constantFrom(...EARLY_ENDS), 4),
  });
  return fc
    .record({
      middleware: early,
      guard: early,
      isForgiving: fc.boolean(),
      handler: fc.record({ writes: fc.boolean(), end: fc.constantFrom(...HANDLER_ENDS) }),
      commitFails: rarely(false, fc.constant(true), 3),
      leaves: rarely<EntryRequest['leaves']>(
        undefined,
        isEarly ? fc.constantFrom('guard', 'handler') : fc.constant('handler'),
        8,
      ),
    })
    .map((request) => ({ ...request, handler: withoutLateWork(request.handler) }));
}

/** What is written after an answer that had nothing to wait for is committed after it: see docs/http.md. */
function withoutLateWork({ writes, end }: Step<HandlerEnd>): Step<HandlerEnd> {
  return { writes: writes || end === 'res.send, write', end };
}

function rarely<T>(usual: T, other: fc.Arbitrary<T>, weight: number): fc.Arbitrary<T> {
  return fc.oneof({ arbitrary: fc.constant(usual), weight }, { arbitrary: other, weight: 1 });
}
