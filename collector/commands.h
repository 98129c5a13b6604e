/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `patrol`, one function each. Each gets its arguments (without the command's name) and
 * returns the exit status.
 */
#pragma once

#include "collector/program.h"

enum exit_status command_enroll(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_server_url(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_record(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_import(struct program *program); /* record --from */
enum exit_status command_amend(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_withdraw(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_list(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_show(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_status(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_sync(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_resync(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_rotate_key(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_export(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_export_bundle(struct program *program); /* export --bundle */
enum exit_status command_import_receipts(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_verify(struct program *program, const char *const *arguments, size_t count);
enum exit_status command_categories(struct program *program, const char *const *arguments, size_t count);
