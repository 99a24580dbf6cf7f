/* SPDX-License-Identifier: ISC
 * libnss_hang.so.2: an NSS source without users, which hangs while the file /run/nss-hangs exists.
 */
#include <nss.h>
#include <pwd.h>
#include <stddef.h>
#include <unistd.h>

enum nss_status _nss_hang_getpwnam_r(const char *name, struct passwd *user, char *space,
				     size_t octets, int *error);
enum nss_status _nss_hang_setpwent(int stays_open);
enum nss_status _nss_hang_getpwent_r(struct passwd *user, char *space, size_t octets, int *error);
enum nss_status _nss_hang_endpwent(void);

static enum nss_status look_up(void)
{
	while (access("/run/nss-hangs", F_OK) == 0)
		(void)pause();
	return NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_hang_getpwnam_r(const char *name, struct passwd *user, char *space,
				     size_t octets, int *error)
{
	(void)name;
	(void)user;
	(void)space;
	(void)octets;
	*error = 0;
	return look_up();
}

enum nss_status _nss_hang_setpwent(int stays_open)
{
	(void)stays_open;
	return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_hang_getpwent_r(struct passwd *user, char *space, size_t octets, int *error)
{
	(void)user;
	(void)space;
	(void)octets;
	*error = 0;
	return look_up();
}

enum nss_status _nss_hang_endpwent(void)
{
	return NSS_STATUS_SUCCESS;
}
