// Package test proves the promises of the whole system on the programs that
// users run.
//
// It promises that each scenario under scenarios/ was done as written, in the
// words of a user: with the built holdfast binary, openssl and curl as clients,
// on SQLite and on PostgreSQL. What a script cannot do is done in Go: servers
// killed at random moments in the middle of enrolments and imports, and two
// servers on one database and one message bus. A missing tool is a failure that
// names its Debian package; nothing is skipped.
//
// It trusts the tools that it checks with (openssl, curl, swtpm, SoftHSM) and
// the users of this machine, who could reach the servers that it starts on
// loopback addresses. Everything that it writes lies in temporary folders, and
// every process that it starts ends with it.
package test
