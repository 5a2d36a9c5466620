package sso

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

// unreachable is the error of a request that got no answer: the provider may be
// down, or the address may be one that the server must not reach.
func unreachable(what string, err error) error {
	if errors.Is(err, outbound.ErrRefused) || errors.Is(err, outbound.ErrTooLarge) {
		return fail(CodeMisconfigured, "%s: %w", what, err)
	}
	return fail(CodeUnavailable, "%s: %w", what, err)
}

// fetchWith sends a request and reads at most limit bytes of the answer.
func fetchWith(client *http.Client, req *http.Request, limit int64) ([]byte, int, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, 0, errors.New("the answer is too large")
	}
	return body, resp.StatusCode, nil
}
