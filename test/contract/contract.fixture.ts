/** What every run of a scenario starts with; the keys of new rows go on from there. */
export const RESET = `
  delete from membership; delete from book_tag; delete from book; delete from profile;
  delete from tag; delete from author;
  insert into author (id, name, email, age, status, settings, bio, address_street, address_city, version)
  values
    (1, 'Ann', 'ann@example.org', 31, 'active', '{"theme":"dark"}', 'writes', 'Elm', 'Ulm', 1),
    (2, 'Bob', 'bob@example.org', 42, 'retired', null, null, null, null, 3),
    (3, 'Cid', 'cid@example.org', null, 'active', '{"tags":["a"]}', 'reads', null, 'Bonn', 1);
  insert into profile (id, motto, author_id) values (1, 'on', 1), (2, 'off', 2);
  insert into book (id, title, price, views, deleted_at, author_id)
  values
    (1, 'Alpha', 10, 100, null, 1), (2, 'Beta', 20, 9007199254740993, null, 1),
    (3, 'Gamma', 30, 0, '2020-01-02T03:04:05Z', 1), (4, 'Delta', 40, 7, null, 2),
    (5, 'Epsilon', null, 0, null, null);
  insert into tag (id, name) values (1, 'red'), (2, 'green'), (3, 'blue');
  insert into book_tag (book_id, tag_id) values (1, 1), (1, 2), (2, 2), (3, 3), (4, 1);
  insert into membership (author_id, tag_id, role) values (1, 1, 'owner'), (1, 2, 'guest'), (2, 1, 'guest');
  select setval('author_id_seq', 3), setval('profile_id_seq', 2), setval('book_id_seq', 5),
    setval('tag_id_seq', 3)`;

/** All rows, as the database sees them. */
export const DUMP = `
  select json_build_object(
    'author', (select json_agg(each order by each.id) from author each),
    'profile', (select json_agg(each order by each.id) from profile each),
    'book', (select json_agg(each order by each.id) from book each),
    'tag', (select json_agg(each order by each.id) from tag each),
    'book_tag', (select json_agg(each order by each.book_id, each.tag_id) from book_tag each),
    'membership', (select json_agg(each order by each.author_id, each.tag_id) from membership each)
  )::text as rows`;

/** What the entities do not declare. */
export const EXTRAS = `
  create schema shelf;
  create table shelf.tag (id serial primary key, name text not null);
  insert into shelf.tag (name) values ('of the shelf')`;
