import { EntityRepositoryType, type Ref } from '@mikro-orm/core';
import { Entity, ManyToOne, PrimaryKey, Property, Unique } from '@mikro-orm/decorators/legacy';
import { EntityRepository } from '@mikro-orm/postgresql';

/** A repository of the application's own, injected by its class. */
export class RoomRepository extends EntityRepository<Room> {
  byName(name: string): Promise<Room | null> {
    return this.findOne({ name });
  }
}

@Entity({ tableName: 'room', repository: () => RoomRepository })
export class Room {
  [EntityRepositoryType]?: RoomRepository;

  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text', unique: true })
  name: string;

  constructor(name: string) {
    this.name = name;
  }
}

@Entity({ tableName: 'booking' })
@Unique({ properties: ['room', 'day'] })
export class Booking {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @ManyToOne({ entity: () => Room, ref: true })
  room!: Ref<Room>;

  @Property({ type: 'text' })
  day!: string;

  @Property({ type: 'text' })
  guest!: string;
}

/** A line of the audit trail. */
@Entity({ tableName: 'audit_entry' })
export class AuditEntry {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  text: string;

  constructor(text: string) {
    this.text = text;
  }
}
