package outbound

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Fetch gets a document of at most limit bytes with client, which New made. An
// answer other than 200, also a redirect that was not followed, is an error
// that quotes nothing of the answer.
func Fetch(ctx context.Context, client *http.Client, url, accept string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching a document: %w", err)
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching a document: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: the answer's status is %d, not 200", req.URL.Redacted(), resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", req.URL.Redacted(), err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("fetching %s: %w: more than %d bytes", req.URL.Redacted(), ErrTooLarge, limit)
	}
	return body, nil
}
