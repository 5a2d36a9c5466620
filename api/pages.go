package api

import (
	"context"
	"errors"
	"iter"
)

// pages reads a list to its end, one page at a time: mark is the parameter that says where a page begins, and page reads one
// and tells where the next begins. A server that names the same page twice would be asked for ever, so that ends the list.
func pages[T any, M comparable](mark **M, page func() (items []T, next *M, err error)) iter.Seq2[T, error] {
	first := *mark
	return func(yield func(T, error) bool) {
		*mark = first
		var none T
		for {
			items, next, err := page()
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			if *mark != nil && **mark == *next {
				yield(none, errors.New("reading the list: the server names the same page twice"))
				return
			}
			*mark = next
		}
	}
}

// unread is err, or what an answer of 200 that is not JSON means.
func unread(err error) error {
	if err == nil {
		err = errors.New("reading the server's answer: it is not JSON")
	}
	return err
}

// AllDevices reads the devices that params select, by id; Limit is the length of a page. An error is the last that it yields. For one goroutine at a time.
func (c *ClientWithResponses) AllDevices(ctx context.Context, params ListDevicesParams) iter.Seq2[Device, error] {
	return pages(&params.After, func() ([]Device, *string, error) {
		res, err := c.ListDevicesWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllCertificates reads the certificates that params select, newest first; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllCertificates(ctx context.Context, params ListCertificatesParams) iter.Seq2[Certificate, error] {
	return pages(&params.After, func() ([]Certificate, *string, error) {
		res, err := c.ListCertificatesWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllEntries reads the entries of the audit log that params select, newest first; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllEntries(ctx context.Context, params ListEntriesParams) iter.Seq2[Entry, error] {
	return pages(&params.Before, func() ([]Entry, *int64, error) {
		res, err := c.ListEntriesWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllPeople reads the accounts that params select; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllPeople(ctx context.Context, params ListPeopleParams) iter.Seq2[Person, error] {
	return pages(&params.After, func() ([]Person, *string, error) {
		res, err := c.ListPeopleWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllSessions reads the MQTT sessions that params select, by client id; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllSessions(ctx context.Context, params ListSessionsParams) iter.Seq2[Session, error] {
	return pages(&params.After, func() ([]Session, *string, error) {
		res, err := c.ListSessionsWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllApprovals reads the requests for a second person that params select, newest first; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllApprovals(ctx context.Context, params ListApprovalsParams) iter.Seq2[Approval, error] {
	return pages(&params.Before, func() ([]Approval, *string, error) {
		res, err := c.ListApprovalsWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}

// AllPolicyVersions reads the versions of the policy, newest first; Limit is the length of a page. See AllDevices.
func (c *ClientWithResponses) AllPolicyVersions(ctx context.Context, params ListPolicyVersionsParams) iter.Seq2[PolicyVersion, error] {
	return pages(&params.Before, func() ([]PolicyVersion, *int64, error) {
		res, err := c.ListPolicyVersionsWithResponse(ctx, &params)
		if err != nil || res.JSON200 == nil {
			return nil, nil, unread(err)
		}
		return res.JSON200.Items, res.JSON200.Next, nil
	})
}
