export {
  OnCommitted,
  type ListenerDecorator,
  type OnCommittedOptions,
} from './on-committed.decorator.js';
