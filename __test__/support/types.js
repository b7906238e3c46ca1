'use strict'

// One entry a column type: its declaration, and the literals that are written into it. `only` names a server where the type
// does not exist on the other. Values are SQL, so that every edge can be written.

const bytes = n => Array.from({ length: n }, (_, i) => (i * 37) % 256)
const hex = list => `X'${list.map(b => b.toString(16).padStart(2, '0')).join('')}'`

/** @typedef {{ type: string, values: string[], only?: 'mysql' | 'mariadb', name?: string }} TypeCase */

/** @type {TypeCase[]} */
const numbers = [
  { type: 'TINYINT', values: ['-128', '127', '0', 'NULL'] },
  { type: 'TINYINT UNSIGNED', values: ['0', '255'] },
  { type: 'TINYINT(1)', values: ['0', '1', '-1', '2'] },
  { type: 'BOOLEAN', values: ['TRUE', 'FALSE'] },
  { type: 'SMALLINT', values: ['-32768', '32767'] },
  { type: 'SMALLINT UNSIGNED', values: ['65535'] },
  { type: 'MEDIUMINT', values: ['-8388608', '8388607', '-1'] },
  { type: 'MEDIUMINT UNSIGNED', values: ['16777215'] },
  { type: 'INT', values: ['-2147483648', '2147483647', '-1'] },
  { type: 'INT UNSIGNED', values: ['4294967295'] },
  { type: 'INT(8) ZEROFILL', values: ['42'] },
  {
    type: 'BIGINT',
    values: [
      '-9223372036854775808',
      '9223372036854775807',
      '9007199254740991',
      '9007199254740992',
      '-9007199254740993',
      '5',
    ],
  },
  { type: 'BIGINT UNSIGNED', values: ['18446744073709551615', '9007199254740993', '0'] },
  {
    type: 'DECIMAL(65,30)',
    values: [
      '12345678901234567890123456789012345.123456789012345678901234567890',
      '-0.000000000000000000000000000001',
      '0',
    ],
  },
  { type: 'DECIMAL(10,0)', values: ['-9999999999', '1', '0'] },
  { type: 'DECIMAL(5,5)', values: ['0.12345', '-0.99999', '0'] },
  { type: 'DECIMAL(20,4)', values: ['1234567890123456.7891', '-1.5', '100'] },
  { type: 'DECIMAL(9,9)', values: ['0.000000001'] },
  { type: 'DECIMAL(18,9)', values: ['123456789.000000001', '-123456789.987654321'] },
  {
    type: 'FLOAT',
    values: ['1.1', '-3.4e38', '1e-10', '16777216', '123456.789', '0', '0.1', '3.14159274', '1e20'],
  },
  {
    type: 'DOUBLE',
    values: [
      '1.1',
      '-1.7976931348623157e308',
      '2.2250738585072014e-308',
      '0.1',
      '123456789.123456789',
      '1e22',
    ],
  },
  { type: 'FLOAT UNSIGNED', values: ['1.5'] },
  { type: 'BIT(1)', values: ["b'0'", "b'1'"] },
  { type: 'BIT(9)', values: ["b'101010101'"] },
  { type: 'BIT(64)', values: ['18446744073709551615', '0', '9223372036854775808'] },
]

/** @type {TypeCase[]} */
const times = [
  { type: 'YEAR', values: ['1901', '2155', '0', '2024'] },
  {
    type: 'DATE',
    values: [
      "'1000-01-01'",
      "'9999-12-31'",
      "'0000-00-00'",
      "'2024-02-29'",
      "'2024-00-10'",
      "'2024-05-00'",
      "'2023-02-30'",
      "'1969-12-31'",
    ],
  },
  { type: 'TIME', values: ["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'12:34:56'"] },
  { type: 'TIME(1)', values: ["'-12:34:56.7'", "'12:34:56.7'"] },
  { type: 'TIME(3)', values: ["'-00:00:00.001'", "'-01:00:00.999'", "'01:02:03.004'"] },
  {
    type: 'TIME(6)',
    values: ["'-838:59:58.000001'", "'838:59:58.999999'", "'-00:00:00.000001'", "'23:59:59.999999'"],
  },
  {
    type: 'DATETIME',
    values: [
      "'1000-01-01 00:00:00'",
      "'9999-12-31 23:59:59'",
      "'0000-00-00 00:00:00'",
      "'2024-06-15 12:00:00'",
      "'2024-00-15 12:00:00'",
    ],
  },
  { type: 'DATETIME(2)', values: ["'2024-06-15 12:00:00.25'"] },
  { type: 'DATETIME(3)', values: ["'2024-06-15 12:00:00.123'", "'1969-12-31 23:59:59.999'"] },
  {
    type: 'DATETIME(6)',
    values: ["'2024-06-15 12:00:00.123456'", "'0000-00-00 00:00:00.000000'", "'1000-01-01 00:00:00.000001'"],
  },
  {
    type: 'TIMESTAMP NULL',
    values: ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'", 'NULL'],
  },
  { type: 'TIMESTAMP(3) NULL', values: ["'2024-06-15 12:00:00.5'"] },
  { type: 'TIMESTAMP(6) NULL', values: ["'2024-06-15 12:00:00.123456'"] },
]

/** @type {TypeCase[]} */
const texts = [
  { type: 'CHAR(10)', values: ["'abc'", "''", "'trailing  '", "'ünï'", 'NULL'] },
  { type: 'CHAR(255) CHARACTER SET utf8mb4', values: ["'😀'", "REPEAT('é', 255)", "'x'"] },
  { type: 'VARCHAR(10)', values: ["'abc'", "'trailing '", "''"] },
  {
    type: 'VARCHAR(1000) CHARACTER SET utf8mb4',
    values: ["REPEAT('😀', 1000)", "'\\0zero'", "'a\\\\b\\'c\"d'"],
  },
  { type: 'TINYTEXT', values: ["'tiny'", "''"] },
  { type: 'TEXT CHARACTER SET utf8mb4', values: ["REPEAT('日本', 10000)", "'x'"] },
  { type: 'MEDIUMTEXT', values: ["REPEAT('m', 70000)"] },
  { type: 'LONGTEXT', values: ["'long'"] },
  { type: "ENUM('a','b,c','d''e','','ü')", values: ["'a'", "'b,c'", "'d\\'e'", "''", "'ü'", 'NULL', '0'] },
  { type: "SET('a','b','c d','é')", values: ["''", "'a'", "'a,c d'", "'é,a,b,c d'", 'NULL'] },
  {
    type: `ENUM(${Array.from({ length: 300 }, (_, i) => `'v${i}'`).join(',')})`,
    name: 'ENUM of 300',
    values: ["'v0'", "'v299'", "'v256'"],
  },
  {
    type: `SET(${Array.from({ length: 64 }, (_, i) => `'s${i}'`).join(',')})`,
    name: 'SET of 64',
    values: ["'s0'", "'s63'", "'s0,s31,s32,s63'"],
  },
]

/** @type {TypeCase[]} */
const binaries = [
  { type: 'BINARY(4)', values: ["X'01020000'", "X'00000000'", "X'FFFFFFFF'", "X'20202020'"] },
  { type: 'BINARY(255)', values: [hex(bytes(255)), "X'01'"] },
  { type: 'VARBINARY(300)', values: [hex(bytes(256)), "X'0000'", "X''"] },
  { type: 'TINYBLOB', values: [hex(bytes(255)), "X''"] },
  { type: 'BLOB', values: [hex(bytes(256))] },
  { type: 'MEDIUMBLOB', values: ["REPEAT(X'00ff', 40000)"] },
  { type: 'LONGBLOB', values: [hex(bytes(10))] },
  { type: 'POINT', values: ["ST_GeomFromText('POINT(1 2)')"] },
  { type: 'GEOMETRY', values: ["ST_GeomFromText('LINESTRING(0 0,1 1,2 0)')", 'NULL'] },
  { type: 'POLYGON', values: ["ST_GeomFromText('POLYGON((0 0,4 0,4 4,0 4,0 0))')"] },
  { type: 'VECTOR(3)', only: 'mysql', values: ["STRING_TO_VECTOR('[1,2.5,-3]')"] },
]

/** @type {TypeCase[]} */
const documents = [
  {
    type: 'JSON',
    values: [
      'NULL',
      "'null'",
      "'true'",
      "'[]'",
      "'{}'",
      '\'"text"\'',
      "'1'",
      "'-1.5e10'",
      '\'{"a": {"b": [1, 2, {"c": null}]}, "": 0, "ü": "😀"}\'',
      '\'{"__proto__": {"x": 1}, "constructor": 2, "toString": 3}\'',
      "'[18446744073709551615, -9223372036854775808, 9007199254740993, 9007199254740991]'",
      '\'["\\\\u0000i5", "\\\\u0000", "a\\\\u0001b", "\\\\\\\\ \\\\" \\\\/"]\'',
      "'[1.1, 0.1, 1e300, 100, 1.0]'",
      "CONCAT('[', REPEAT('1,', 40000), '1]')",
      "CONCAT('{\"k\": \"', REPEAT('v', 70000), '\"}')",
      "CONCAT(REPEAT('[', 30), REPEAT(']', 30))",
    ],
  },
  {
    type: 'JSON',
    name: 'JSON of 90 levels',
    only: 'mysql',
    values: ["CONCAT(REPEAT('[', 90), REPEAT(']', 90))"],
  },
  {
    type: 'JSON',
    name: 'JSON of SQL values',
    only: 'mysql',
    values: [
      'JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST(12345678901234567890.5 AS DECIMAL(30,1)))',
      "JSON_OBJECT('d', DATE'2024-06-15', 't', TIME'-12:34:56.5', 'dt', TIMESTAMP'2024-06-15 12:00:00.123456')",
      "JSON_ARRAY(CAST('abc' AS BINARY), b'1')",
      'JSON_ARRAY(CAST(1 AS UNSIGNED), CAST(-1 AS SIGNED), 32767, 32768, -32769, 2147483648)',
    ],
  },
  {
    type: 'UUID',
    only: 'mariadb',
    values: [
      "'123e4567-e89b-12d3-a456-426655440000'",
      "'00000000-0000-0000-0000-000000000000'",
      'NULL',
      "'ffffffff-ffff-1fff-bfff-ffffffffffff'",
      "'123e4567-e89b-42d3-a456-426655440000'",
    ],
  },
  {
    type: 'INET6',
    only: 'mariadb',
    values: ["'2001:db8::ff00:42:8329'", "'::'", "'::ffff:1.2.3.4'", "'fe80::1'"],
  },
  { type: 'INET4', only: 'mariadb', values: ["'192.168.0.1'", "'0.0.0.0'", "'255.255.255.255'"] },
  { type: 'VARCHAR(500) COMPRESSED', only: 'mariadb', values: ["REPEAT('c', 400)", "'short'", "''"] },
  { type: 'TEXT COMPRESSED', only: 'mariadb', values: ["REPEAT('abc', 4000)", "'x'", "''"] },
  { type: 'BLOB COMPRESSED', only: 'mariadb', values: ["REPEAT(X'00ff', 4000)", "X'01'"] },
]

/** @type {TypeCase[]} */
const cases = [...numbers, ...times, ...texts, ...binaries, ...documents]

module.exports = { cases }
