import { replaceMethod } from '../connection/replace-method.js';
import { REFUSAL_HEADER } from './request-refusal.js';

/** What a request has brought, the part of it that is looked at. */
interface Answer {
  readonly headers?: Record<string, unknown>;
}

type Done = (error: Error | null, answer?: Answer) => void;

/** The part of a request of supertest that every way to send it calls, `await` too. */
interface Sent {
  end: (done: Done) => unknown;
}

/** Has the error of a call of supertest, an unexpected 500 for example, say why its work was refused. */
export function explainRefusal<T extends object>(call: T): T {
  if ('end' in call) {
    replaceMethod(
      call as Sent,
      'end',
      (before) => (done) =>
        before.call(call, (error, answer) => {
          done(error && explained(error, answer), answer);
        }),
    );
  }
  return call;
}

function explained(error: Error, answer: Answer | undefined): Error {
  const refusal = answer?.headers?.[REFUSAL_HEADER];
  if (typeof refusal === 'string') {
    const { message, stack } = error;
    error.message = `${message}\nRefused was ${refusal}`;
    // Runners print the stack, which has the message of the time when it was made.
    error.stack = (stack ?? message).replace(message, () => error.message);
  }
  return error;
}
