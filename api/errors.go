package api

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// maxRefusal bounds an answer that is not a success, in bytes.
const maxRefusal = 4 << 20

// Error is the server's refusal: a problem document (RFC 9457). Code is stable and for programs; Detail and Fix are sentences
// for people. Find it with errors.As.
type Error struct {
	Problem
	RetryAfter time.Duration // how long to wait before asking again, where the server said so; else 0
}

// Error joins what is wrong and what to do about it.
func (e *Error) Error() string {
	if e.Fix == nil || *e.Fix == "" {
		return e.Detail
	}
	return e.Detail + ": " + *e.Fix
}

// NeedsApproval is the answer to a request that a second person has to approve first. Nothing has happened yet: it happens, in the
// name of who asked, when the approval is given. Poll ShowApproval with the id until its state is done, failed, rejected,
// withdrawn or expired. Find it with errors.As.
type NeedsApproval struct{ Pending }

// Error says that nothing has happened yet, and which approval is waited for.
func (w *NeedsApproval) Error() string { return w.Detail + ": approval " + w.Approval.ID }

// refusal makes an error of an answer that is not a success.
func refusal(res *http.Response) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if res.StatusCode == http.StatusAccepted {
		w := &NeedsApproval{}
		if err := json.Unmarshal(body, &w.Pending); err != nil || w.Approval.ID == "" {
			return fmt.Errorf("reading the server's answer: it is not a request that waits for approval")
		}
		return w
	}
	e := &Error{}
	if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	if kind != "application/problem+json" || json.Unmarshal(body, &e.Problem) != nil || e.Code == "" {
		e.Problem = Problem{Type: "urn:holdfast:problem:not-holdfast", Title: http.StatusText(res.StatusCode), Code: "not-holdfast",
			Detail: "the server answered " + strconv.Itoa(res.StatusCode) + " without a problem document", Fix: new("check the server's address, and proxies between")}
	}
	e.Status = int64(res.StatusCode)
	return e
}
