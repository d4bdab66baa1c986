import { catchError, throwError, type Observable } from 'rxjs';

import { hidePage } from '../error-page.js';

/**
 * Passes on what no filter of HTTP makes an answer of: a server of GraphQL answers with the message of any
 * error, and Nest 11 sends that of an error which ends a stream of events.
 */
export function withShownErrors(answer: Observable<unknown>): Observable<unknown> {
  return answer.pipe(catchError((error: unknown) => throwError(() => hidePage(error))));
}
