import type { DefaultTheme } from 'vitepress';

type Item = DefaultTheme.SidebarItem;

function page(text: string, name: string): Item {
  return { text, link: `/${name}` };
}

/** Pages in the order in which somebody new reads them. */
export const sidebar: Item[] = [
  {
    text: 'Start',
    items: [
      page('Why', 'why'),
      page('Quick start', 'quick-start'),
      page('How it works', 'how-it-works'),
      page('Recipes', 'recipes'),
      page('Comparison', 'comparison'),
    ],
  },
  {
    text: 'Concepts',
    collapsed: false,
    items: [
      page('The module', 'module'),
      page('Sessions', 'sessions'),
      page('Taking over', 'control'),
      page('Propagation', 'propagation'),
      page('Transaction options', 'transactions'),
      page('Connections and failover', 'connections'),
    ],
  },
  {
    text: 'Guides',
    collapsed: false,
    items: [
      page('HTTP', 'http'),
      page('GraphQL', 'graphql'),
      page('Jobs and queues', 'jobs'),
      page('Microservices and gateways', 'messages'),
      page('CLI and scripts', 'scripts'),
      page('Schema, migrations, seeding', 'schema'),
      page('Multi-tenancy', 'multi-tenancy'),
      page('Several databases', 'several-databases'),
      page('Replicas', 'replicas'),
      page('PgBouncer', 'connections-pgbouncer'),
      page('Retries', 'retries'),
      page('Events and outbox', 'events'),
      page('Streams and large data', 'streams'),
      page('Testing', 'testing'),
      page('Spans and metrics', 'observability'),
      page('The inspector', 'inspector'),
      page('Health', 'health'),
      page('Performance tuning', 'performance-tuning'),
      page('Production checklist', 'production'),
      page('Your own transport', 'custom-transport'),
    ],
  },
  {
    text: 'Look up',
    collapsed: false,
    items: [
      page('Migrating', 'migrating'),
      page('Guarantees', 'guarantees'),
      page('Errors', 'errors'),
      page('API at a glance', 'api'),
      page('API reference', 'reference/'),
      page('What is published', 'telemetry'),
      page('Performance', 'performance'),
      page('Security', 'security'),
      page('Versions', 'versions'),
    ],
  },
  {
    text: 'Project',
    collapsed: false,
    items: [
      page('Design', 'design'),
      page('All pages', 'pages'),
      page('Changelog', 'source/CHANGELOG'),
      page('Security policy', 'source/SECURITY'),
      page('Contributing', 'source/CONTRIBUTING'),
    ],
  },
];

export const nav: DefaultTheme.NavItem[] = [
  { text: 'Quick start', link: '/quick-start' },
  { text: 'How it works', link: '/how-it-works' },
  { text: 'Recipes', link: '/recipes' },
  { text: 'API', link: '/reference/' },
  { text: 'Errors', link: '/errors' },
];
