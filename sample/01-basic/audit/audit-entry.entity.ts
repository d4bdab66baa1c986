import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

export type AuditAction = 'transfer.sent' | 'login.failed' | 'login.succeeded';

@Entity({ tableName: 'audit_entry' })
export class AuditEntry {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  action: AuditAction;

  /** No foreign key: accounts are in another database. */
  @Property({ type: 'integer' })
  accountId: number;

  @Property({ type: 'text' })
  details: string;

  @Property({ type: 'datetime' })
  at = new Date();

  constructor(action: AuditAction, accountId: number, details: string) {
    this.action = action;
    this.accountId = accountId;
    this.details = details;
  }
}
