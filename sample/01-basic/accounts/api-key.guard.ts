import { EntityManager } from '@mikro-orm/postgresql';
import {
  createParamDecorator,
  Injectable,
  UnauthorizedException,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import type { Request } from 'express';
import { InjectSession } from 'nestjs-db-context';

import { Account } from './account.entity.js';

type GuardedRequest = Request & { account?: Account };

/**
 * Lets a request pass that names an account by its key. Guards run before interceptors, so the
 * session that is read here exists thanks to `mount: 'middleware'` in the AppModule. It is the
 * handler's session: one transaction, and the account that the guard has loaded is not loaded again.
 */
@Injectable()
export class ApiKeyGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<GuardedRequest>();
    const key = request.header('x-account-key');
    const account = key === undefined ? null : await this.session.findOne(Account, { key });
    if (account === null) {
      throw new UnauthorizedException('Send the key of an account in the header x-account-key.');
    }
    request.account = account;
    return true;
  }
}

/** The account that {@link ApiKeyGuard} has found. */
export const CurrentAccount = createParamDecorator(
  (_data: unknown, context: ExecutionContext) =>
    context.switchToHttp().getRequest<GuardedRequest>().account,
);
