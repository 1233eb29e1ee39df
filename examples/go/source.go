package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Organization and Member are rows as the CMS shows them.
type Organization struct {
	ID   int64
	Name *string
}

type Member struct {
	ID           int64
	Name         *string
	Organization Organization // as of the same moment, since its event may be still to come
}

// Source reads rows back over HTTP, from the service in examples/cms.
type Source struct {
	base   string
	client http.Client
	slow   http.Client // a resync may take hours
}

func NewSource(base string) *Source {
	return &Source{base: base, client: http.Client{Timeout: 10 * time.Second}}
}

// rows is the part of a URL that stands for a table.
var rows = map[string]string{"organization": "organizations", "member": "members"}

// get reads a row into "row"; false: the service says that there is none.  A 404 without
// the service's own words is of something else on the way: to take it for a row that is
// gone would delete rows when a route is wrong.
func (s *Source) get(ctx context.Context, table, tenant string, id int64, row any) (bool, error) {
	status, body, err := ask(ctx, &s.client, "GET",
		s.base+fmt.Sprintf("/tenants/%s/%s/%d", url.PathEscape(tenant), rows[table], id), nil)
	if err != nil {
		return false, err
	}
	if status == http.StatusNotFound {
		var none map[string]any
		if json.Unmarshal(body, &none) == nil {
			if row, named := none["row"]; named && row == nil {
				return false, nil
			}
		}
	}
	if status != http.StatusOK {
		return false, fmt.Errorf("read-back of %s %s %d: %d %s", table, tenant, id, status, body)
	}
	return true, json.Unmarshal(body, row)
}

// Present returns which of these rows are there.
func (s *Source) Present(ctx context.Context, table, tenant string, ids []int64) (map[int64]bool, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	status, body, err := ask(ctx, &s.client, "GET", s.base+fmt.Sprintf("/tenants/%s/%s?ids=%s",
		url.PathEscape(tenant), rows[table], strings.Join(texts, ",")), nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s of %s: %d %s", table, tenant, status, body)
	}
	var found []int64
	if err == nil {
		err = json.Unmarshal(body, &found)
	}
	there := make(map[int64]bool, len(found))
	for _, id := range found {
		there[id] = true
	}
	return there, err
}

// Resync has all rows published anew.  A tenant that has no row any more has marks, and
// so is swept, only when it is named: "tenants" are those of the copy, by table.
func (s *Source) Resync(ctx context.Context, tenants map[string][]string) error {
	request, err := json.Marshal(tenants)
	if err != nil {
		return err
	}
	status, body, err := ask(ctx, &s.slow, "POST", s.base+"/resync", request)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("resync: %d %s", status, body)
	}
	return err
}

func ask(ctx context.Context, client *http.Client, method, url string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
