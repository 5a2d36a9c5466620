// Package api is the public client of Holdfast's API for Go programs, made of the same OpenAPI document that every server
// serves at /openapi.json.
//
// openapi.json is the document as the server in this tree writes it; client_gen.go is made of it and has one method for each
// operation. Written by hand are only what a generator cannot know: [Connect], problem documents as errors ([Error]), requests
// that wait for a second person ([NeedsApproval]), and lists read page by page (methods that begin with All).
//
// It promises that a call that returns no error was done: every answer that is not a success is an error, and so is 202, which
// means that nothing has happened yet. It sends the token to the server it was connected to and to nobody else: redirects are
// not followed, and plain HTTP is refused except on loopback. It trusts that server: answers are held in memory whole, without a
// bound, but for the operations that stream, which have a form that returns the *http.Response.
//
// Who could change openapi.json or client_gen.go could make programs call something else than they say; a test of
// server/adminapi holds the first to the server, and a test here the second to the first.
package api

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config generate.yaml openapi.json
