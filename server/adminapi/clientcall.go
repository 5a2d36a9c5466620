package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// basePath is where every operation is.
const basePath = "/api/v1/"

// maxAnswer bounds an answer that the client holds in memory, in bytes.
const maxAnswer = 64 << 20

// ImportProgress is one line of the answer to an import: rows checked (of Rows)
// while reading, then rows written.
type ImportProgress struct {
	Checked int `json:"checked,omitempty"`
	Rows    int `json:"rows,omitempty"`
	Written int `json:"written,omitempty"`
}

// join makes a path of segments, each escaped.
func join(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// call sends body as JSON (nil: none) and reads the answer into an Out.
func call[Out any](ctx context.Context, c *Client, method, path string, q url.Values, body any) (out Out, err error) {
	var content io.Reader
	contentType := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("encoding the request: %w", err)
		}
		content, contentType = bytes.NewReader(b), "application/json"
	}
	return decode[Out](c.send(ctx, method, path, q, contentType, content))
}

// callRaw sends body as it is and reads the answer into an Out.
func callRaw[Out any](ctx context.Context, c *Client, method, path, contentType string, body []byte) (Out, error) {
	return decode[Out](c.send(ctx, method, path, nil, contentType, bytes.NewReader(body)))
}

func decode[Out any](res *http.Response, err error) (out Out, _ error) {
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	b, err := readAll(res.Body)
	if err != nil || len(b) == 0 {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("reading the server's answer: %w", err)
	}
	return out, nil
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("reading the server's answer: it is longer than %d bytes", maxAnswer)
	}
	return b, nil
}

func (c *Client) bytes(ctx context.Context, path string) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, path, nil, "", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return readAll(res.Body)
}

func (c *Client) copy(ctx context.Context, path string, q url.Values, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, path, q, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("copying the server's answer: %w", err)
	}
	return nil
}

// send makes one request; an answer that is not 2xx becomes a *Problem.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, contentType string, body io.Reader) (*http.Response, error) {
	target := strings.TrimRight(c.BaseURL, "/") + basePath + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if !c.Token.Empty() {
		req.Header.Set("Authorization", "Bearer "+string(c.Token.text))
	}
	if c.reason != "" {
		req.Header.Set(ReasonHeader, url.PathEscape(c.reason))
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling the server: %w", err)
	}
	if res.StatusCode == http.StatusAccepted { // it waits for a second person
		defer res.Body.Close()
		p := &Pending{}
		b, err := readAll(res.Body)
		if err == nil {
			err = json.Unmarshal(b, p)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the server's answer: %w", err)
		}
		return nil, p
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readProblem(res)
}

// readProblem reads a problem document; an answer of any other form, from a
// proxy perhaps, becomes a Problem that names the status.
func readProblem(res *http.Response) error {
	p := &Problem{}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	b, err := readAll(res.Body)
	if err == nil && kind == typeProblem && json.Unmarshal(b, p) == nil && p.Code != "" {
		return p
	}
	return &Problem{Type: problemURN + "not-holdfast", Title: http.StatusText(res.StatusCode), Status: res.StatusCode, Code: "not-holdfast",
		Detail: "the server answered " + res.Status + " without a problem document", Fix: "check the server's address, and proxies between"}
}

// importLine is one line of the streamed answer to an import.
type importLine struct {
	ImportProgress
	Imported *int       `json:"imported,omitempty"`
	Errors   []RowError `json:"errors,omitempty"`
	Problem  *Problem   `json:"problem,omitempty"`
}

func (c *Client) importDevices(ctx context.Context, body io.Reader, contentType string, progress func(ImportProgress)) (int, error) {
	res, err := c.send(ctx, http.MethodPost, join("devices", "import"), nil, contentType, body)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		var line importLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return 0, fmt.Errorf("reading the answer to the import: %w", err)
		}
		switch {
		case line.Problem != nil:
			return 0, line.Problem
		case len(line.Errors) > 0:
			return 0, &ImportError{Rows: line.Errors}
		case line.Imported != nil:
			return *line.Imported, nil
		case progress != nil:
			progress(line.ImportProgress)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("reading the answer to the import: %w", err)
	}
	return 0, errors.New("reading the answer to the import: it ended before the result")
}
