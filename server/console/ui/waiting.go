package ui

import (
	"strconv"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// maxWaiting bounds what Waiting counts.
const maxWaiting = 99

// Waiting counts the requests of others that wait for a second person, if this
// person may be it: at most 99. It asks once for each page, and says none where it
// cannot find out: it is a hint beside the navigation.
func (r *Request) Waiting() int {
	if r.waiting != nil {
		return *r.waiting
	}
	n := 0
	r.waiting = &n
	if r.API == nil || r.HTTP == nil || !r.Can(access.ApprovalRead) || !r.Can(access.ApprovalDecide) {
		return 0
	}
	list, err := r.API.Approvals(r.HTTP.Context(), adminapi.ApprovalFilter{State: access.ApprovalWaiting, Limit: maxWaiting})
	if err != nil {
		return 0
	}
	for _, a := range list.Items {
		if a.RequestedBy != r.Identity.Actor.String() && r.Now.Before(a.ExpiresAt) {
			n++
		}
	}
	return n
}

// waitingText is what stands beside an entry of the navigation.
func (r *Request) waitingText(section string) string {
	if section != "access" || r.Waiting() == 0 {
		return ""
	}
	return strconv.Itoa(r.Waiting())
}
