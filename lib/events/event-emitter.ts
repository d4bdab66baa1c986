/**
 * Events of `@nestjs/event-emitter` that wait for the commit, see docs/events.md.
 *
 * @packageDocumentation
 */
export {
  OnCommitted,
  type ListenerDecorator,
  type OnCommittedOptions,
} from './on-committed.decorator.js';
