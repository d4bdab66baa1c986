import { clientHasLeft, type HttpRequest, type HttpResponse } from '../transport/http-exchange.js';
import type { ClientSocket } from './client-sockets.js';

/** The request that carries an operation. */
export interface Exchange {
  readonly request?: HttpRequest | undefined;
  readonly response?: HttpResponse | undefined;
  /** Of an operation over a WebSocket, which has no response, and whose request is that of the connection. */
  readonly socket?: ClientSocket | undefined;
  /** Whether it is an event, which would be lost if it were refused. */
  readonly isEvent?: boolean;
}

/** Whether the client went away that the answer is for. */
export function hasLeft({ response, socket }: Exchange): boolean {
  return response === undefined ? socket?.destroyed === true : clientHasLeft(response);
}
