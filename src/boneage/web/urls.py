"""All URLs. None holds patient data: cases and assessments have random ids."""

from __future__ import annotations

from django.urls import include, path
from django.views.i18n import set_language

from boneage.web.api import stow
from boneage.web.api.operations import api
from boneage.web.models import PictureKind
from boneage.web.views import (
    accounts,
    administration,
    assess,
    atlas,
    case,
    cases,
    corrections,
    errors,
    health,
    lock,
    node,
    report,
    result,
    second_factor,
    sign_on,
)

_ASSESSMENT = [
    path("", result.page, name="result"),
    path("state", result.state, name="state"),
    path("row", assess.row, name="row"),
    path("radiograph.jpg", result.picture, {"kind": PictureKind.RADIOGRAPH}, name="radiograph"),
    path("heat.png", result.picture, {"kind": PictureKind.HEAT}, name="heat"),
    path("grey.png", result.picture, {"kind": PictureKind.GREY}, name="grey"),
    path("thumbnail.jpg", result.picture, {"kind": PictureKind.THUMBNAIL}, name="thumbnail"),
    path("decide", result.decide, name="decide"),
    path("again", corrections.assess_again, name="assess_again"),
    path("move", corrections.move, name="move"),
    path("delete", result.delete, name="delete_assessment"),
    path("report/", report.page, name="report"),
    path("report.pdf", report.pdf, name="report_pdf"),
    path("result.json", report.json_file, name="result_json"),
    path("result.csv", report.csv_file, name="result_csv"),
    path("copy.png", report.shared_copy, name="shared_copy"),
]

urlpatterns = [
    path("", assess.home, name="home"),
    path("assessments/", assess.submit, name="submit"),
    path("assessments/<uuid:pk>/", include(_ASSESSMENT)),
    path("cases/", cases.worklist, name="cases"),
    path("cases/export.csv", cases.export, name="cases_export"),
    path("cases/<uuid:pk>/", case.case, name="case"),
    path("cases/<uuid:pk>/department", case.department, name="case_department"),
    path("cases/<uuid:pk>/measurements", case.measurements, name="measurements"),
    path("cases/<uuid:pk>/compare", case.compare, name="compare"),
    path("cases/<uuid:pk>/delete", case.delete, name="delete_case"),
    path("atlas/", atlas.page, name="atlas"),
    path("atlas/<str:key>", atlas.plate, name="plate"),
    path("about/", assess.about, name="about"),
    path("account/login", accounts.login, name="login"),
    path("account/login/second-factor", accounts.login_second_factor, name="login_second_factor"),
    path("account/sign-on", sign_on.start, name="sign_on"),
    path("account/sign-on/return", sign_on.finish, name="sign_on_return"),
    path("account/second-factor", second_factor.second_factor, name="second_factor"),
    path("account/logout", accounts.logout, name="logout"),
    path("account/stay", accounts.stay, name="stay"),
    path("account/lock", lock.lock, name="lock"),
    path("account/unlock", lock.unlock, name="unlock"),
    path("account/confirm", accounts.confirm, name="confirm"),
    path("account/", accounts.account, name="account"),
    path("account/tokens/<int:pk>/revoke", accounts.revoke_token, name="revoke_token"),
    path("administration/users/", administration.users, name="users"),
    path("administration/users/<int:pk>/", administration.user, name="user"),
    path("administration/node/", node.page, name="node"),
    path("administration/node/deliveries/<int:pk>", node.delivery, name="delivery"),
    path("administration/node/instances/<int:pk>", node.render_again, name="render_again"),
    path("cases/not-read/", node.not_read, name="not_read"),
    path("cases/asking/<int:pk>", node.state_sex, name="state_sex"),
    path("administration/audit/", administration.audit_log, name="audit"),
    path("language", set_language, name="set_language"),
    path("health", health.health, name="health"),
    path("health/ready", health.health, name="ready"),
    path("health/live", health.live, name="live"),
    path("metrics", health.metrics, name="metrics"),
    path("dicom-web/studies", stow.studies, name="stow"),
    path("api/", api.urls),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.server_error
